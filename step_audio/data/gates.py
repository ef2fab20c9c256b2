"""What is measured of an utterance, and what it must reach to be learned from.

Measuring and judging are apart: scores are kept, so other bounds cost no second listening.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from step_audio.core.error_rates import error_rate
from step_audio.core.errors import InputError
from step_audio.core.ports import TurnDetector
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm
from step_audio.data.manifest import SpokenUtterance
from step_audio.data.segment import speech_spans

Scores = dict[str, Any]
_FLOOR: Final = 1e-10
_BOUND: Final = re.compile(r"([a-z_]+)(<=|>=)(-?\d+(?:\.\d+)?)")
CERTAIN: Final = frozenset({"flite", "espeak", "festival", "rhvoice"})
"""Engines, as `source` names them, whose words are those of the line."""
EMBED_HZ: Final = 16_000
WINDOW_S: Final = 1.5
SAME_SPEAKER: Final = 0.35
"""Cosine between windows of one speaker and another's mean, below which they are two."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a score must be: at least `low`, at most `high`; None is open."""

    says: str
    low: float | None = None
    high: float | None = None

    def reason(self, value: float) -> str:
        """Return why a value is rejected, "" when it is not."""
        if self.low is not None and value < self.low:
            return f"{self.says} {value:.3g}, wanted at least {self.low:g}"
        if self.high is not None and value > self.high:
            return f"{self.says} {value:.3g}, wanted at most {self.high:g}"
        return ""


Bounds = Mapping[str, Bound]

ALL: Final[Bounds] = {
    "seconds": Bound("length in seconds", 0.3, 30.0),
    "level_db": Bound("level of the speech in dB of full scale", -45.0, -3.0),
    "clipped": Bound("share of clipped samples", None, 0.005),
    "speech": Bound("share of speech", 0.3),
    "error_rate": Bound("recognition error rate", None, 0.35),
    "speakers": Bound("number of speakers", 1, 1),
    "dnsmos": Bound("DNSMOS", 2.2),
    "copies": Bound("number of earlier utterances with the same sound", None, 0),
}
"""For SFT stage 1: what is not plainly broken."""

HIGH: Final[Bounds] = {
    **ALL,
    "level_db": Bound("level of the speech in dB of full scale", -35.0, -6.0),
    "speech": Bound("share of speech", 0.5),
    "error_rate": Bound("recognition error rate", None, 0.05),
    "dnsmos": Bound("DNSMOS", 2.8),
}
"""For SFT stage 2."""

QUALITIES: Final[dict[str, Bounds]] = {"all": ALL, "high": HIGH}


def with_bounds(bounds: Bounds, changes: Sequence[str]) -> dict[str, Bound]:
    """Return bounds with changes such as "error_rate<=0.1". Raises InputError: not of that form."""
    out = dict(bounds)
    for change in changes:
        found = _BOUND.fullmatch(change)
        if found is None or found[1] not in out:
            raise InputError(
                f"{change!r} is no bound; write one like error_rate<=0.1, of {', '.join(out)}"
            )
        old, value = out[found[1]], float(found[3])
        low, high = (value, old.high) if found[2] == ">=" else (old.low, value)
        out[found[1]] = Bound(old.says, low, high)
    return out


def reasons(scores: Mapping[str, Any], bounds: Bounds) -> list[dict[str, str]]:
    """Return every {gate, reason} for which a scored utterance is rejected; none: it passes."""
    if scores.get("unreadable"):
        return [{"gate": "unreadable", "reason": str(scores["unreadable"])}]
    found = []
    for gate, bound in bounds.items():
        value = scores.get(gate)
        reason = "" if value is None else bound.reason(float(value))
        if reason:
            found.append({"gate": gate, "reason": reason})
    return found


class UtteranceGate:
    """Measures sound; one instance a process.

    Args:
        detector: hears where somebody speaks.
        hear: a recogniser, for the error rate; None leaves it unmeasured.
        embed: (T,) at 16 kHz to a speaker vector, for the number of speakers; likewise.
        quality: DNSMOS of a sound; likewise.
        language: code of the one that the recogniser knows, "" for any: of others it measures
            nothing.
    """

    def __init__(
        self,
        detector: TurnDetector,
        hear: Callable[[Pcm, int], str] | None = None,
        embed: Callable[[Pcm], NDArray[np.float32]] | None = None,
        quality: Callable[[Pcm, int], float | None] | None = None,
        language: str = "",
    ) -> None:
        self._detector, self._hear, self._embed = detector, hear, embed
        self._quality, self._language = quality, language

    def measure(self, utterance: SpokenUtterance, pcm: Pcm, rate_hz: int) -> Scores:
        """Return every score of an utterance; None where it cannot be measured."""
        spans = speech_spans(self._detector, pcm, rate_hz)
        cuts = [pcm[a * rate_hz // 1000 : b * rate_hz // 1000] for a, b in spans]
        speech = np.concatenate(cuts) if cuts else pcm[:0]
        scores: Scores = {
            "seconds": len(pcm) / rate_hz,
            "level_db": level_db(speech if len(speech) else pcm),
            "clipped": clipped_share(pcm),
            "speech": len(speech) / len(pcm),
            "error_rate": None,
            "speakers": None,
            "dnsmos": None if self._quality is None else self._quality(pcm, rate_hz),
        }
        known = self._language in {"", utterance.language.partition("-")[0]}
        # A machine voice says what it was given: errors would be the recogniser's own.
        known = known and not text_is_certain(utterance)
        if self._hear is not None and utterance.text and known:
            scores["heard"] = self._hear(pcm, rate_hz)
            scores["error_rate"] = error_rate(utterance.text, scores["heard"])
        if self._embed is not None:
            scores["speakers"] = speaker_count(speech, rate_hz, self._embed)
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in scores.items()}


def text_is_certain(utterance: SpokenUtterance) -> bool:
    """Return whether an engine said the text that cannot leave a word out, unlike a model."""
    return utterance.source.get("engine") in CERTAIN


def level_db(pcm: Pcm) -> float:
    """Return the root mean square of samples in dB of full scale."""
    return float(10 * np.log10(np.mean(np.square(pcm, dtype=np.float64)) + _FLOOR))


def clipped_share(pcm: Pcm) -> float:
    """Return the share of samples that stay at full scale: clipping repeats them."""
    edge = np.abs(pcm) >= 0.999
    return float(np.mean(edge[1:] & edge[:-1])) if len(pcm) > 1 else 0.0


def speaker_count(
    speech: Pcm, rate_hz: int, embed: Callable[[Pcm], NDArray[np.float32]]
) -> int | None:
    """Return how many people speak; None for less than two windows of speech.

    Windows join the speaker whose mean they are closest to, or begin a new one.
    """
    sound = resample(speech, rate_hz, EMBED_HZ) if rate_hz != EMBED_HZ else speech
    size = int(WINDOW_S * EMBED_HZ)
    starts = range(0, len(sound) - size + 1, size)
    if len(starts) < 2:
        return None
    vectors = np.stack([embed(sound[at : at + size]) for at in starts]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + _FLOOR
    means: list[NDArray[np.float64]] = []
    for vector in vectors:
        near = [float(vector @ mean / (np.linalg.norm(mean) + _FLOOR)) for mean in means]
        if near and max(near) >= SAME_SPEAKER:
            best = int(np.argmax(near))
            means[best] = means[best] + vector
        else:
            means.append(vector)
    return len(means)
