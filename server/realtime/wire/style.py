"""How a session wants to be spoken to: role, emotion, dialect, song, five levels of speed and
loudness. What the model takes goes into its instructions; speed and loudness are done to the sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from step_audio.dialog.prompting.system_prompts import load_prompt

NORMAL: Final = 3
_SPEEDS: Final = {1: 0.7, 2: 0.85, 3: 1.0, 4: 1.2, 5: 1.45}
_VOLUMES: Final = {1: 0.35, 2: 0.6, 3: 1.0, 4: 1.5, 5: 2.2}


@dataclass(frozen=True, slots=True)
class SessionStyle:
    """What a client wished; None or normal: nothing."""

    role: str | None = None
    emotion: str | None = None
    dialect: str | None = None
    mode: Literal["speech", "sing", "rap"] = "speech"
    speed: int = NORMAL
    loudness: int = NORMAL

    @property
    def speed_factor(self) -> float:
        """What the level of speed does to the sound."""
        return _SPEEDS[self.speed]

    @property
    def volume_factor(self) -> float:
        """What the level of loudness does to the sound."""
        return _VOLUMES[self.loudness]

    def instructions(self, given: str) -> str:
        """Return a client's instructions with what the style adds."""
        texts = dict(line.split(": ", 1) for line in load_prompt("style").splitlines())
        words = {"role": self.role, "emotion": self.emotion, "dialect": self.dialect}
        lines = [texts[name].format(word) for name, word in words.items() if word]
        lines += [texts[self.mode]] if self.mode in texts else []
        return "\n".join([given, *lines] if given else lines)

    def wire(self, *, takes_instructions: bool) -> dict[str, Any]:
        """Return the object of the protocol; `applied` names the wishes that take effect."""
        waiting = {
            "role": self.role,
            "emotion": self.emotion,
            "dialect": self.dialect,
            "mode": None if self.mode == "speech" else self.mode,
        }
        applied = [name for name, wish in waiting.items() if wish and takes_instructions]
        levels = {"speed": self.speed, "loudness": self.loudness}
        applied += [name for name, level in levels.items() if level != NORMAL]
        return {**waiting, "mode": self.mode, **levels, "applied": applied}


PLAIN: Final = SessionStyle()
