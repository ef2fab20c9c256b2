"""Turns read off the events of one session: what was said when, and did playback run dry.

Pure: events and times in, `TurnTimes` out. Metrics and the load generator share it, one at the
server's end of the socket, one at the client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SOUND: Final = frozenset({"response.output_audio.delta", "response.audio.delta"})
_PCM_BYTES_PER_S: Final = 48_000
_G711_BYTES_PER_S: Final = 8_000


@dataclass(slots=True)
class TurnTimes:
    """One response. Times are of the clock that the caller uses; None: did not happen.

    Attributes:
        committed_s: the user's turn was over; None for a response that no spoken turn asked for.
        interrupted_s: speech began while the response ran.
        sound_s: length of the sound so far.
        dry_s: how long playback waited for sound, each time it did. Playback starts with the
            first sound and takes everything as soon as it comes.
    """

    response_id: str
    created_s: float
    committed_s: float | None = None
    first_sound_s: float | None = None
    last_sound_s: float | None = None
    interrupted_s: float | None = None
    status: str = "in_progress"
    sound_s: float = 0.0
    dry_s: list[float] = field(default_factory=list)
    bytes_per_s: int = _PCM_BYTES_PER_S

    @property
    def rtf(self) -> float | None:
        """Time from the first sound to the last, over the length of the sound."""
        if self.first_sound_s is None or self.last_sound_s is None or not self.sound_s:
            return None
        return (self.last_sound_s - self.first_sound_s) / self.sound_s

    def hear(self, delta: str, now_s: float) -> None:
        """Take base64 sound that came at `now_s`."""
        if self.first_sound_s is None:
            self.first_sound_s = now_s
        else:
            dry_s = now_s - (self.first_sound_s + self.sound_s + sum(self.dry_s))
            if dry_s > 0:
                self.dry_s.append(dry_s)
        self.last_sound_s = now_s
        self.sound_s += (len(delta) * 3 // 4 - delta.count("=", -2)) / self.bytes_per_s


class TurnReader:
    """Follows one session. `read` returns a turn when its response is done."""

    def __init__(self) -> None:
        self._committed_s: float | None = None
        self._turns: dict[str, TurnTimes] = {}

    def read(self, event: Mapping[str, Any], now_s: float) -> TurnTimes | None:
        """Take the next event of the server."""
        kind = event["type"]
        if kind in SOUND:
            if turn := self._turns.get(event["response_id"]):
                turn.hear(event["delta"], now_s)
        elif kind == "input_audio_buffer.committed":
            self._committed_s = now_s
        elif kind == "input_audio_buffer.speech_started":
            for turn in self._turns.values():
                turn.interrupted_s = turn.interrupted_s or now_s
        elif kind == "response.created":
            response = event["response"]
            turn = TurnTimes(
                response["id"], now_s, self._committed_s, bytes_per_s=_bytes_per_s(response)
            )
            self._turns[turn.response_id] = turn
            self._committed_s = None
        elif kind == "response.done":
            return self._end(event["response"])
        return None

    def _end(self, response: Mapping[str, Any]) -> TurnTimes | None:
        turn = self._turns.pop(response["id"], None)
        if turn is not None:
            turn.status = str(response["status"])
        return turn


def _bytes_per_s(response: Mapping[str, Any]) -> int:
    """Bytes of sound a second, from the response in either shape of the protocol."""
    output = (response.get("audio") or {}).get("output") or {}
    shape = output.get("format") or response.get("output_audio_format")
    name = shape.get("type") if isinstance(shape, Mapping) else shape
    return _PCM_BYTES_PER_S if name in (None, "audio/pcm", "pcm16") else _G711_BYTES_PER_S
