"""Sound on the wire: base64 of PCM16 at 24 kHz, or of G.711 at 8 kHz, both ways."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from server.http.body import base64_bytes
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


class AudioDecoder:
    """A client's sound in one format: base64 in, samples out, wherever the pieces are cut.

    A PCM16 sample may be cut over two pieces: its first byte waits for the next one.
    """

    def __init__(self, encoding: Format) -> None:
        self._encoding = encoding
        self._odd = b""

    @property
    def within_sample(self) -> bool:
        """Whether half a sample waits for its other half."""
        return bool(self._odd)

    def push(self, sound: str, param: str) -> Pcm:
        """Return the samples that are complete. Raises RequestError: it is no base64."""
        data = base64_bytes(sound, param)
        if self._encoding.law is not None:
            return g711.decode(data, self._encoding.law)
        data = self._odd + data if self._odd else data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        return pcm16_to_float(data[:whole])


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
