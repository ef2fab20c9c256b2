"""Sound on the wire: base64 of PCM16 at 24 kHz, or of G.711 at 8 kHz, both ways."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from server.http.errors import RequestError
from step_audio.core import g711
from step_audio.core.audio import float_to_pcm16, pcm16_to_float
from step_audio.core.delivery import open_delivery
from step_audio.core.resampling import StreamResampler
from step_audio.core.types import Pcm

FormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
_DELTA_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Format:
    """One encoding; `law` None means PCM16."""

    name: FormatName
    rate_hz: int
    law: g711.Law | None = None

    @property
    def bytes_per_ms(self) -> int:
        """Of the encoded sound."""
        return self.rate_hz // 1000 * (2 if self.law is None else 1)

    def wire(self) -> dict[str, Any]:
        """Return the object of the protocol."""
        return {"type": self.name} | ({"rate": self.rate_hz} if self.law is None else {})

    def encode(self, pcm: Pcm) -> str:
        """Return samples at `rate_hz` as base64."""
        data = float_to_pcm16(pcm) if self.law is None else g711.encode(pcm, self.law)
        return base64.b64encode(data).decode()

    def decode(self, sound: str, param: str) -> Pcm:
        """Return base64 as samples. Raises RequestError: it is none; AudioError: half a sample."""
        try:
            data = base64.b64decode(sound, validate=True)
        except (binascii.Error, ValueError):
            raise RequestError("not base64", code="invalid_audio", param=param) from None
        return pcm16_to_float(data) if self.law is None else g711.decode(data, self.law)


PCM: Final = Format("audio/pcm", 24_000)
FORMATS: Final[dict[FormatName, Format]] = {
    "audio/pcm": PCM,
    "audio/pcmu": Format("audio/pcmu", g711.RATE_HZ, "ulaw"),
    "audio/pcma": Format("audio/pcma", g711.RATE_HZ, "alaw"),
}


class AudioEncoder:
    """One answer's sound: delivered faster or louder, resampled, cut and encoded."""

    def __init__(self, encoding: Format, *, speed: float = 1.0, volume: float = 1.0) -> None:
        self._encoding, self._speed, self._volume = encoding, speed, volume
        self._stages: tuple[Any, StreamResampler] | None = None
        self._samples = 0

    @property
    def sent_ms(self) -> int:
        """Length of what was returned."""
        return self._samples * 1000 // self._encoding.rate_hz

    def push(self, pcm: Pcm, rate_hz: int) -> list[str]:
        """Take more sound, always at the same rate, and return it as base64 pieces."""
        if self._stages is None:
            delivery = open_delivery(rate_hz, speed=self._speed, volume=self._volume)
            self._stages = delivery, StreamResampler(rate_hz, self._encoding.rate_hz)
        delivery, resampler = self._stages
        return self._pieces(out for part in delivery.push(pcm) for out in resampler.push(part))

    def flush(self) -> list[str]:
        """Return the rest."""
        if self._stages is None:
            return []
        delivery, resampler = self._stages
        late = [out for part in delivery.flush() for out in resampler.push(part)]
        return self._pieces([*late, *resampler.flush()])

    def _pieces(self, chunks: Iterable[Pcm]) -> list[str]:
        most = _DELTA_MS * self._encoding.rate_hz // 1000
        pieces = [pcm[at : at + most] for pcm in chunks for at in range(0, len(pcm), most)]
        self._samples += sum(map(len, pieces))
        return [self._encoding.encode(piece) for piece in pieces]
