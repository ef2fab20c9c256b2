"""Turn detection as a client chose it: the wire's settings and what the ear needs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from server.http.errors import RequestError
from server.realtime.wire.client_events import TurnDetectionPatch
from step_audio.dialog.settings import TurnSettings
from step_audio.dialog.turns.input_audio import Detection

Kind = Literal["server_vad", "semantic_vad"]
Eagerness = Literal["low", "medium", "high", "auto"]

_PATIENCE: Final[dict[Eagerness, float]] = {"low": 2.0, "medium": 1.0, "auto": 1.0, "high": 0.6}
"""Silence that ends a turn, in silences of the profile."""
_UNFINISHED: Final = 3
"""Times as much silence after words that sound as if more were to come."""
_PATCHED: Final = {  # field of a patch -> of what holds
    "threshold": "threshold",
    "prefix_padding_ms": "prefix_ms",
    "idle_timeout_ms": "idle_ms",
    "eagerness": "eagerness",
    "create_response": "create_response",
    "interrupt_response": "interrupt_response",
}


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """What holds while the server finds the turns.

    `silence_ms` is the end of a turn, `longest_ms` after words that sound unfinished; `idle_ms` of
    silence after an answer make the model speak.
    """

    kind: Kind
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
        own: dict[str, Any] = {
            "threshold": self.threshold,
            "prefix_padding_ms": self.prefix_ms,
            "silence_duration_ms": self.silence_ms,
            "idle_timeout_ms": self.idle_ms,
        }
        if self.kind == "semantic_vad":  # which has them where a client chose them
            usual = {"threshold": 0.5, "prefix_padding_ms": 300, "idle_timeout_ms": None}
            own = {key: own[key] for key, value in usual.items() if own[key] != value}
            own = {"eagerness": self.eagerness, **own}
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


def updated(
    before: TurnDetection | None, patch: TurnDetectionPatch | None, turns: TurnSettings, where: str
) -> TurnDetection | None:
    """Return a client's choice, what held before where it is silent, the profile's before that.

    Threshold, padding, silence and idle time are taken with either kind. Null stands for the
    default; a whole null for none.

    Raises:
        RequestError: `eagerness` with `server_vad`; `where` is the place of the patch.
    """
    if patch is None:
        return None
    given = patch.model_fields_set
    kind: Kind = patch.type or (before.kind if before and "type" not in given else "server_vad")
    if patch.eagerness is not None and kind == "server_vad":
        if patch.type is not None:
            said = "server_vad has no eagerness; send semantic_vad, or silence_duration_ms"
            raise RequestError(said, param=f"{where}.eagerness")
        kind = "semantic_vad"
    default = TurnDetection(kind, turns.silence_ms)
    out = default if before is None else replace(before, kind=kind)
    changes = {
        here: getattr(default, here) if getattr(patch, there) is None else getattr(patch, there)
        for there, here in _PATCHED.items()
        if there in given
    }
    out = replace(out, **changes)
    if patch.silence_duration_ms is not None:
        return replace(out, silence_ms=patch.silence_duration_ms)
    changed = before is None or before.kind != kind or given & {"eagerness", "silence_duration_ms"}
    if not changed:
        return out
    if kind == "server_vad":
        return replace(out, silence_ms=turns.silence_ms, eagerness="auto")
    return replace(out, silence_ms=round(turns.silence_ms * _PATIENCE[out.eagerness]))
