"""A role that somebody asked for: what of it each part of a deployment is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.role_play.cards import RoleCard, RoleCards, words_of_role
from step_audio.dialog.speakable.style_tags import PLAIN, Style, StyleReach, style_named

Exchange = tuple[str, str]
"""What is said to a model to set a role that it was taught, and what it answers."""

_YOU_ARE: Final = re.compile(r"^\s*you are\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Role:
    """A role as it was asked for, and as this deployment can play it.

    Attributes:
        text: as it was asked for: the name of a card, or free words.
        card: of that name or title.
        exchange: how the model was taught the role, where it knows roles by heart.
        known: the roles that the model knows by heart.
    """

    text: str
    card: RoleCard | None = None
    exchange: Exchange | None = None
    known: tuple[str, ...] = ()

    @property
    def style(self) -> Style:
        """The manner of the card."""
        return self.card.style if self.card else PLAIN

    @property
    def opening(self) -> str:
        """What the character says first; "" nothing of its own."""
        return (self.card.opening or "") if self.card else ""

    def lines(self, reach: StyleReach) -> str:
        """Return what a model that takes instructions is told of the role, a line a part."""
        card = self.card
        if card is None:
            return _texts("style")["role"].format(self.text)
        chinese = card.language == "zh"
        texts = _texts("role_card_zh" if chinese else "role_card")
        # A model that makes the sound itself has no other way to learn of the manner.
        manner = card.manner if reach.speaks_itself else ()
        parts = {
            "title": card.title,
            "who": card.who,
            "speaks": card.speaks or "",
            "manner": ("、" if chinese else ", ").join(manner),
            "knows": ("" if chinese else " ").join(card.knows),
            "never": ("；" if chinese else "; ").join(card.never),
        }
        return "\n".join(texts[key].format(part) for key, part in parts.items() if part)

    def spoken(self, reach: StyleReach) -> Style:
        """Return the manner as the model that reads aloud, or the vocoder, is told it."""
        if reach.manners:
            return Style((), manners=self.style.by_voice(reach.manners).manners)
        if not reach.tags or (self.style.song and not reach.songs):
            return PLAIN
        return Style(self.style.tags)

    def applied(self, reach: StyleReach) -> bool:
        """Whether the model that answers is told of the role."""
        return reach.instructions or self.exchange is not None

    def not_applied(self, reach: StyleReach) -> dict[str, str]:
        """Return what of the role has no effect here, and why, by "role" or "role.PART"."""
        why: dict[str, str] = {}
        if not self.applied(reach):
            roles = ", ".join(self.known)
            why["role"] = (
                f"this model plays only roles that it was taught: {roles}"
                if roles
                else "this model takes no instructions and was taught no roles"
            )
        card = self.card
        if card is None:
            return why
        if self.exchange is not None and not reach.instructions:
            said = "this model was taught the role by its name alone"
            parts = {"who": card.who, "speaks": card.speaks, "knows": card.knows}
            why |= {f"role.{key}": said for key in parts if parts[key]}
            why |= {"role.never": said} if card.never else {}
        lost = [tag for tag in card.style.tags if not _is_done(tag, card.style, reach)]
        if lost and not (reach.instructions and reach.speaks_itself):
            why["role.manner"] = f"nothing here speaks in this manner: {', '.join(lost)}"
        return why


def role_of(text: str, cards: RoleCards, taught: Mapping[str, Exchange]) -> Role:
    """Return a role by what somebody wrote.

    Args:
        text: the name or title of a card, or free words.
        cards: of the deployment.
        taught: the roles that the model knows by heart, each with how it was taught it.
    """
    card = cards.named(text)
    by_heart = (card.taught or "") if card else words_of_role(_YOU_ARE.sub("", text))
    return Role(text, card, taught.get(by_heart), tuple(taught))


def _is_done(tag: str, style: Style, reach: StyleReach) -> bool:
    """Whether a tag of a manner is told to a model, or done to the sound."""
    if reach.tags:
        return reach.songs or not style.song
    named = style_named(tag)
    if named is not None and named.by_voice(reach.manners).manners:
        return True
    return tag.startswith(("快速", "慢速"))


def _texts(prompt: str) -> dict[str, str]:
    """Return the sentences of a prompt file by their keys."""
    lines = load_prompt(prompt).splitlines()
    return {key: text for key, _, text in (line.partition(": ") for line in lines)}
