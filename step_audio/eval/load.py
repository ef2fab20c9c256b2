"""Many simulated callers at once, and what they met as one JSON object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import numpy as np

from step_audio.core.audio import pcm16_to_float
from step_audio.core.errors import InputError
from step_audio.core.types import Pcm
from step_audio.eval.callers import Caller, CallerAnswer, CallPlan, CallReport, trimmed

QUESTIONS: Final = (
    "What is twelve plus thirty?",
    "What time is it?",
    "What is the capital of France?",
    "How many feet are five meters?",
)


_LAG_STEP_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What all callers met.

    Attributes:
        lags_s: by how much the callers' own timers were late: their process adds as much to what
            it measures, and the server is not to blame.
    """

    sessions: int
    calls: tuple[CallReport, ...]
    wall_s: float
    lags_s: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures: milliseconds, percentiles over all answered questions."""
        heard = [one for call in self.calls for one in call.heard]
        answered = [one for one in heard if one.first_audio_s is not None]
        dry_s = [dry for one in heard for dry in one.dry_s]
        errors = [error for call in self.calls for error in call.errors]
        return {
            "sessions": self.sessions,
            "refused": sum(call.refused for call in self.calls),
            "questions": len(heard),
            "answered": len(answered),
            "first_audio_ms": spread_ms([one.first_audio_s for one in heard]),
            "endpoint_delay_ms": spread_ms([one.endpoint_delay_s for one in heard]),
            "after_decision_ms": spread_ms([one.after_decision_s for one in heard]),
            "underruns": len(dry_s),
            "underrun_ms": round(sum(dry_s) * 1000, 1),
            "rtf": _spread([one.rtf for one in heard], 1.0, 3),
            "sound_s": round(sum(one.sound_s for one in heard), 2),
            "statuses": _counts([one.status for one in heard]),
            "errors": _counts(errors),
            "caller_lag_ms": spread_ms(self.lags_s),
            "wall_s": round(self.wall_s, 2),
        }


async def run(
    plan: CallPlan, sessions: int, stagger_s: float = 1.0, *, together: bool = False
) -> LoadReport:
    """Let so many callers talk at once.

    Args:
        plan: what each does.
        sessions: callers.
        stagger_s: they begin within it.
        together: they wait for each other before each question and ask it in the same instant.
    """
    if together:
        plan = replace(plan, together=asyncio.Barrier(sessions))
    start_s = time.monotonic()

    async def one(number: int) -> CallReport:
        await asyncio.sleep(stagger_s * number / sessions)
        return await Caller(plan, number).call()

    lags_s: list[float] = []
    watching = asyncio.create_task(_watch_lag(lags_s), name="load.lag")
    calls = await asyncio.gather(*(one(number) for number in range(sessions)))
    watching.cancel()
    await asyncio.wait([watching])
    return LoadReport(sessions, tuple(calls), time.monotonic() - start_s, tuple(lags_s))


async def _watch_lag(lags_s: list[float]) -> None:
    """Note how late this process wakes up; up to a millisecond is the clock of its timers."""
    while True:
        due_s = time.monotonic() + _LAG_STEP_S
        await asyncio.sleep(_LAG_STEP_S)
        lags_s.append(max(0.0, time.monotonic() - due_s))


async def spoken_by(url: str, texts: Sequence[str], key: str | None) -> list[Pcm]:
    """Return texts read aloud by the server under test, 24 kHz.

    Raises:
        InputError: it cannot be reached or does not read texts aloud.
    """
    parts = urlsplit(url)
    address = urlunsplit(
        ("https" if parts.scheme == "wss" else "http", parts.netloc, "/v1/audio/speech", "", "")
    )
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    sounds: list[Pcm] = []
    async with httpx.AsyncClient(timeout=120, headers=headers) as client:
        for text in texts:
            wish = {"input": text, "response_format": "pcm", "model": "any"}
            try:
                answer = await client.post(address, json=wish)
                answer.raise_for_status()
            except httpx.TransportError as error:
                raise InputError(
                    f"no server answers at {parts.netloc} ({error.__class__.__name__}); start one "
                    "with `step-audio serve`, or name its address: --url ws://host:port/v1/realtime"
                ) from None
            except httpx.HTTPError as error:
                raise InputError(
                    f"{address} does not speak the questions ({error.__class__.__name__}: "
                    f"{str(error)[:200]}); give wav files: --questions a.wav b.wav"
                ) from None
            sounds.append(trimmed(pcm16_to_float(answer.content)))
    return [sound for sound in sounds if len(sound)]


def spread_ms(seconds: Sequence[float | None]) -> dict[str, float] | None:
    """Return p50, p95, p99 and the largest in ms, None without any."""
    return _spread(seconds, 1000.0, 1)


def _spread(values: Sequence[float | None], scale: float, digits: int) -> dict[str, float] | None:
    known = np.array([value for value in values if value is not None]) * scale
    if not len(known):
        return None
    p50, p95, p99 = np.percentile(known, [50, 95, 99])
    named = {"p50": p50, "p95": p95, "p99": p99, "max": known.max()}
    return {name: round(float(value), digits) for name, value in named.items()}


def _counts(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


__all__ = ["QUESTIONS", "CallPlan", "CallerAnswer", "LoadReport", "run", "spoken_by", "spread_ms"]
