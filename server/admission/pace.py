"""How fast one client may send: a moment's burst is fine, a flood is slowed, then ended.

Slowing down is not reading: the network holds the client back, nothing is lost, and a client
that only has much to say never notices. Pure: the caller's clock, the caller's sleep.
"""

from __future__ import annotations

from dataclasses import dataclass

from step_audio.core.errors import StepAudioError


class Flooded(StepAudioError):
    """A client sends more than it may, and does not stop."""

    code = "rate_limit_exceeded"


class Bucket:
    """So much a second, and so much at once. Starts full."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._level = burst
        self._at_s: float | None = None

    def take(self, amount: float, now_s: float) -> float:
        """Take `amount` and return how many seconds to wait before going on.

        Time that runs backwards counts as standing still.
        """
        passed_s = max(0.0, now_s - (now_s if self._at_s is None else self._at_s))
        self._at_s = now_s
        self._level = min(self._burst, self._level + passed_s * self._rate) - amount
        return max(0.0, -self._level / self._rate)


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """What one socket may send.

    Attributes:
        messages_per_s, messages_burst: 20 ms of sound a message are 50 a second.
        bytes_per_s, bytes_burst: sound in real time is 64 kB a second as base64.
        patience_s: held back for so long without rest, a client floods and is sent away.
    """

    messages_per_s: float = 200.0
    messages_burst: float = 1000.0
    bytes_per_s: float = 4 * 2.0**20
    bytes_burst: float = 32 * 2.0**20
    patience_s: float = 10.0


class Pace:
    """The pace of one socket."""

    def __init__(self, limits: PaceLimits) -> None:
        self._patience_s = limits.patience_s
        self._messages = Bucket(limits.messages_per_s, limits.messages_burst)
        self._bytes = Bucket(limits.bytes_per_s, limits.bytes_burst)
        self._held_s = self._wait_s = 0.0
        self._at_s: float | None = None

    def hold(self, size: int, now_s: float) -> float:
        """Return how long to wait before the next message is read.

        Args:
            size: bytes of the message that came at `now_s`.

        Raises:
            Flooded: the client was held back for longer than the patience lasts.
        """
        wait_s = max(self._messages.take(1, now_s), self._bytes.take(size, now_s))
        # Time in which the client was not held back is rest, and forgives as much.
        rest_s = max(0.0, now_s - (self._at_s or now_s) - self._wait_s)
        self._held_s = max(0.0, self._held_s - rest_s) + wait_s
        self._at_s, self._wait_s = now_s, wait_s
        if self._held_s > self._patience_s:
            raise Flooded("too many messages for too long; send sound as it is recorded")
        return wait_s
