"""Turn detection as a client chose it: the wire's settings and what the ear needs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from server.realtime.wire.client_events import SemanticVad, ServerVad
from step_audio.dialog.settings import TurnSettings
from step_audio.dialog.turns.input_audio import Detection

Eagerness = Literal["low", "medium", "high", "auto"]

_PATIENCE: Final[dict[Eagerness, float]] = {"low": 2.0, "medium": 1.0, "auto": 1.0, "high": 0.6}
"""Silence that ends a turn, in silences of the profile."""
_UNFINISHED: Final = 3
"""Times as much silence after words that sound as if more were to come."""


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """What holds while the server finds the turns.

    `silence_ms` is the end of a turn, `longest_ms` after words that sound unfinished; `idle_ms` of
    silence after an answer make the model speak.
    """

    kind: Literal["server_vad", "semantic_vad"]
    silence_ms: int
    threshold: float = 0.5
    prefix_ms: int = 300
    idle_ms: int | None = None
    eagerness: Eagerness = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    @property
    def longest_ms(self) -> int:
        """Silence that ends a turn whatever was said."""
        return self.silence_ms * (_UNFINISHED if self.kind == "semantic_vad" else 1)

    def wire(self) -> dict[str, Any]:
        """Return the object of the protocol."""
        own: dict[str, Any] = {"eagerness": self.eagerness}
        if self.kind == "server_vad":
            own = {
                "threshold": self.threshold,
                "prefix_padding_ms": self.prefix_ms,
                "silence_duration_ms": self.silence_ms,
                "idle_timeout_ms": self.idle_ms,
            }
        return {
            "type": self.kind,
            **own,
            "create_response": self.create_response,
            "interrupt_response": self.interrupt_response,
        }

    def of_ear(self, turns: TurnSettings) -> Detection:
        """Return what the ear needs; pauses are worth a guess where an answer would follow."""
        return Detection(
            silence_ms=self.longest_ms,
            threshold=self.threshold,
            prefix_ms=self.prefix_ms,
            guess=turns.speculate and self.create_response,
        )


def chosen(patch: ServerVad | SemanticVad, turns: TurnSettings) -> TurnDetection:
    """Return a client's choice, the profile's where it is silent."""
    if isinstance(patch, SemanticVad):
        choice = TurnDetection(
            "semantic_vad",
            round(turns.silence_ms * _PATIENCE[patch.eagerness]),
            eagerness=patch.eagerness,
        )
    else:
        silence_ms = patch.silence_duration_ms
        choice = TurnDetection(
            "server_vad",
            turns.silence_ms if silence_ms is None else silence_ms,
            threshold=patch.threshold,
            prefix_ms=patch.prefix_padding_ms,
            idle_ms=patch.idle_timeout_ms,
        )
    return replace(
        choice,
        create_response=patch.create_response,
        interrupt_response=patch.interrupt_response,
    )
