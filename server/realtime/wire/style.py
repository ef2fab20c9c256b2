"""How a session wants to be spoken to: role, emotion, dialect, song, five levels of speed and
loudness. Where a second model reads the answers aloud, what it has tags for is told to it; what a
model takes in words goes behind its instructions; what a vocoder does itself (`dialog.manners`) is
asked of it; the rest of speed and loudness is done to the sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.role_play.role import Exchange, Role
from step_audio.dialog.speakable.style_tags import HUMMING, RAP, Style, StyleReach, style_named
from step_audio.dialog.speakable.style_tags import PLAIN as PLAIN_STYLE

NORMAL: Final = 3
_SPEEDS: Final = {1: 0.7, 2: 0.85, 3: 1.0, 4: 1.2, 5: 1.45}
_SPEED_TAGS: Final = {1: "慢速2", 2: "慢速1", 4: "快速1", 5: "快速2"}
_VOLUMES: Final = {1: 0.35, 2: 0.6, 3: 1.0, 4: 1.5, 5: 2.2}
_MODES: Final = {"sing": HUMMING, "rap": RAP}
_SONGS: Final = frozenset(_MODES)


@dataclass(frozen=True, slots=True)
class SessionStyle:
    """What a client wished; None or normal: nothing.

    Attributes:
        role: as it can be played here.
        role_voice: the voice of the store that its card asks for; None: none.
        no_role_voice: why not, where it asks for some.
        emotion, dialect, mode, speed, loudness: each goes before the manner of the role.
    """

    role: Role | None = None
    role_voice: str | None = None
    no_role_voice: str = ""
    emotion: str | None = None
    dialect: str | None = None
    mode: Literal["speech", "sing", "rap"] = "speech"
    speed: int = NORMAL
    loudness: int = NORMAL

    def speed_factor(self, reach: StyleReach) -> float:
        """What the level of speed does to the sound: nothing where the model is told it."""
        if "speed" in self._told(reach):
            return 1.0
        if self.speed == NORMAL and not reach.tags:
            return self._manner.speed
        return _SPEEDS[self.speed]

    @property
    def volume_factor(self) -> float:
        """What the level of loudness does to the sound."""
        return self._manner.volume if self.loudness == NORMAL else _VOLUMES[self.loudness]

    @property
    def exchange(self) -> Exchange | None:
        """What sets the role in a model that knows it by heart."""
        return self.role.exchange if self.role else None

    def lines(self, reach: StyleReach) -> str:
        """Return what the style adds to the instructions of a model that takes them."""
        texts = dict(line.split(": ", 1) for line in load_prompt("style").splitlines())
        words = {"emotion": self.emotion, "dialect": self.dialect}
        lines = [self.role.lines(reach)] if self.role else []
        lines += [texts[name].format(word) for name, word in words.items() if word]
        lines += [texts[self.mode]] if self.mode in texts else []
        return "\n".join(lines)

    def spoken(self, reach: StyleReach) -> Style:
        """Return what the model that reads aloud is told."""
        style = self.role.spoken(reach) if self.role else PLAIN_STYLE
        wished = [Style((tag,)) for tag in self._told(reach).values()]
        wished += self._by_voice(reach).values()
        if style.song and wished:
            style = PLAIN_STYLE  # what the client wishes goes before the card
        for more in wished:
            style = style.with_more(more)
        return style

    def wire(self, reach: StyleReach) -> dict[str, Any]:
        """Return the object of the protocol; `applied` names the wishes that take effect, and
        `available` those that can have one with this model.

        A wish has an effect when the model that makes the sound is told of it, or the sound is
        changed; for a role it is enough that the model which writes is told. `not_applied` says
        what of a role has none, and why.
        """
        role = self.role
        waiting = {
            "role": role.text if role else None,
            "emotion": self.emotion,
            "dialect": self.dialect,
            "mode": None if self.mode == "speech" else self.mode,
        }
        levels = {"speed": self.speed, "loudness": self.loudness}
        told = self.spoken(reach).tags
        tagged = {name for name, tag in self._told(reach).items() if tag in told}
        tagged |= set(self._by_voice(reach))
        in_words = {"role"} if role and role.applied(reach) else set()
        in_words |= set(waiting) if reach.instructions and reach.speaks_itself else set()
        applied = [name for name, wish in waiting.items() if wish and name in tagged | in_words]
        applied += [
            name
            for name, level in levels.items()
            if level != NORMAL and (name in tagged or name not in self._told(reach))
        ]
        why = role.not_applied(reach) if role else {}
        if self.no_role_voice:
            why["role.voice"] = self.no_role_voice
        card = role.card.name if role and role.card else None
        shown = {
            **waiting,
            "mode": self.mode,
            **levels,
            "applied": applied,
            "available": available(reach),
        }
        return {**shown, "card": card, "not_applied": why} if role else shown

    @property
    def _manner(self) -> Style:
        """What the card of the role asks for."""
        return self.role.style if self.role else PLAIN_STYLE

    def _by_voice(self, reach: StyleReach) -> dict[str, Style]:
        """Return the wishes that the vocoder fulfils itself, each with what it does."""
        wished = [("mode", style_named(_MODES.get(self.mode, "")))]
        wished += [("emotion", style_named(self.emotion or ""))]
        done = {
            name: Style((), manners=style.by_voice(reach.manners).manners)
            for name, style in wished
            if style is not None and bool(style.song) == (name == "mode")
        }
        done = {name: style for name, style in done.items() if style.manners}
        return {"mode": done["mode"]} if "mode" in done else done  # nothing holds beside a song

    def _told(self, reach: StyleReach) -> dict[str, str]:
        """Return the wishes for which the model that reads aloud has a tag, each with it."""
        if not reach.tags:
            return {}
        song = _MODES.get(self.mode)
        if song and reach.songs:
            return {"mode": song}  # it takes nothing beside it
        told: dict[str, str] = {}
        for name, word in (("emotion", self.emotion), ("dialect", self.dialect)):
            named = style_named(word) if word else None
            if named and named.tags and not named.song:
                told[name] = named.tags[0]
        if self.speed in _SPEED_TAGS:
            told["speed"] = _SPEED_TAGS[self.speed]
        return told


def available(reach: StyleReach) -> list[str]:
    """Return the wishes that can have an effect; what is done to the sound always can."""
    in_words = reach.instructions and reach.speaks_itself
    possible = {
        "role": reach.instructions or reach.roles,
        "emotion": reach.tags or in_words or bool(reach.manners - _SONGS),
        "dialect": reach.tags or in_words,
        "mode": (reach.tags and reach.songs) or in_words or bool(reach.manners & _SONGS),
        "speed": True,
        "loudness": True,
    }
    return [name for name, can in possible.items() if can]


PLAIN: Final = SessionStyle()
