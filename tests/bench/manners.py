"""Manners as they are heard. Run: python -m tests.bench.manners [--sentences 20] [--words]

Nano reads held-out sentences of its world plainly and in every manner of its profile; what is
measured is measured in the sound, by tools that no model of ours saw: the pitch by pyworld (DIO
and StoneMask, 60 to 500 Hz), words by Whisper base, level, pace and onsets from the samples.

Lines of JSON, each as soon as it is known. `manners.level`: medians at the five levels of speed and
of loudness, and in how many sentences the measure rises at every step. `manners.mood`: against the
same sentence read plainly, the share of sentences whose pitch, span of the pitch, pace and level
moved as they should. `manners.whisper`: share of voiced frames among those that are not silent.
`manners.sing`: median deviation from the asked notes, and the share of notes that are held (voiced
and within 50 cents for half of their time). `manners.rap`: share of onsets within 80 ms of a beat,
of the same sentences read plainly too, and what chance would give. `manners.words`: word errors.
`manners.cost`: processor time over length of the sound, and ms to the first of it, without the
language model, whose ids are remembered from the first reading.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyworld
from numpy.typing import NDArray

from server.realtime.wire.style import SessionStyle
from step_audio.core.config import load_profile
from step_audio.core.delivery import open_delivery
from step_audio.core.ports import Stage, Vocoder
from step_audio.core.types import Pcm, TokenGroup, Voice
from step_audio.dialog.assistant import Assistant
from step_audio.eval.wer import word_error_rate
from step_audio.eval.whisper import hear
from step_audio.nano.exam.judge import in_words
from step_audio.runtime import Runtime
from tests.bench.remembered import RememberedEngine
from tests.bench.speech import texts
from vocoder.song import GRID_S, Note
from vocoder.song_stream import SongStream
from vocoder.stream import FlowStream

MOODS: Final = {
    "happy": ("happy", "happy 2"),
    "sad": ("sad", "sad 2"),
    "angry": ("angry", "angry 2"),
}
UP: Final = {"happy": 1, "angry": 1, "sad": -1}
"""Which way pitch, its span, pace and level go."""
NEAR_S: Final = 0.08
_STEP_S: Final = 0.005
_QUIET_DB: Final = 40.0
_DOMAIN: Final = re.compile(
    r"It is|The capital|Your timer|Today|The opposite|\w+ comes|[\w ]+ (plus|minus|times) "
)


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence as it was read."""

    pcm: Pcm
    rate_hz: int
    notes: tuple[Note, ...] = ()
    cpu_s: float = 0.0
    first_ms: float = 0.0

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.pcm) / self.rate_hz


class Watched:
    """A vocoder that remembers the streams it opened."""

    def __init__(self, inner: Vocoder, opened: list[Stage[TokenGroup, Pcm]]) -> None:
        self._inner, self._opened = inner, opened
        self.sample_rate_hz, self.chunks = inner.sample_rate_hz, inner.chunks

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        """Open and remember."""
        self._opened.append(stream := self._inner.open(voice, seed))
        return stream


class Reader:
    """Nano, which says each sentence once and may be asked to make the sound again."""

    def __init__(self, profile: str) -> None:
        runtime = Runtime(load_profile(profile))
        parts = runtime.services()
        in_manner = parts.in_manner
        assert in_manner is not None, f"{profile} names no manners"
        self._opened: list[Stage[TokenGroup, Pcm]] = []
        settings = runtime.settings()
        self.assistant = Assistant(
            replace(
                parts,
                engine=RememberedEngine(parts.engine),
                in_manner=lambda names: Watched(in_manner(names), self._opened),
            ),
            replace(settings, reading=replace(settings.reading, seed=0)),
        )

    async def say(self, text: str, tag: str = "") -> Said:
        """Return a sentence, read in the manner of a tag."""
        self._opened.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        first_ms, chunks, rate_hz = 0.0, list[Pcm](), 0
        async for chunk in self.assistant.say(f"({tag}) {text}" if tag else text):
            first_ms = first_ms or (time.perf_counter() - begun) * 1000
            chunks.append(chunk.pcm)
            rate_hz = chunk.rate_hz
        notes = [
            note
            for stream in self._opened
            if isinstance(stream, FlowStream) and isinstance(stream.wave, SongStream)
            for note in stream.wave.notes
        ]
        spent_s = time.process_time() - cpu
        return Said(np.concatenate(chunks), rate_hz, tuple(notes), spent_s, first_ms)


def pitch(said: Said) -> NDArray[np.float64]:
    """Return Hz every 5 ms, 0 where nothing is voiced."""
    samples = said.pcm.astype(np.float64)
    coarse, times = pyworld.dio(samples, said.rate_hz, f0_floor=60.0, f0_ceil=500.0)
    found: NDArray[np.float64] = pyworld.stonemask(samples, coarse, times, said.rate_hz)
    return found


def loud(said: Said) -> NDArray[np.bool_]:
    """Return whether each 5 ms is within 40 dB of the loudest."""
    step = round(said.rate_hz * _STEP_S)
    frames = said.pcm[: len(said.pcm) // step * step].reshape(-1, step)
    level = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    heard: NDArray[np.bool_] = level > level.max() - _QUIET_DB
    return heard


def spoken_s(said: Said) -> float:
    """Return the seconds from the first to the last sound."""
    at = np.flatnonzero(loud(said))
    return float(at[-1] - at[0] + 1) * _STEP_S


def level_db(said: Said) -> float:
    """Return the level of what is not silent, dB of full scale."""
    step = round(said.rate_hz * _STEP_S)
    kept = np.repeat(loud(said), step)
    return float(
        10 * np.log10(np.mean(np.square(said.pcm[: len(kept)][kept], dtype=np.float64)) + 1e-12)
    )


def voiced_share(said: Said) -> float:
    """Return the share of voiced frames among those that are not silent."""
    heard, f0 = loud(said), pitch(said)
    count = min(len(heard), len(f0))
    return float(np.mean(f0[:count][heard[:count]] > 0))


def pitch_facts(said: Said) -> tuple[float, float]:
    """Return the mean pitch in Hz and its standard deviation in semitones."""
    f0 = pitch(said)
    semitones = 12 * np.log2(f0[f0 > 0])
    return float(2 ** (semitones.mean() / 12)), float(semitones.std())


def syllables(text: str) -> int:
    """Return roughly how many syllables a text has: its runs of vowels."""
    return max(1, len(re.findall(r"[aeiouy]+", re.sub(r"e\b", "", text.lower()))))


def onsets(said: Said) -> NDArray[np.float64]:
    """Return the seconds at which vowels begin: where the level of 0.3 to 3.5 kHz rises most."""
    spectrum = np.fft.rfft(said.pcm.astype(np.float64))
    hz = np.fft.rfftfreq(len(said.pcm), 1 / said.rate_hz)
    band = np.fft.irfft(np.where((hz > 300) & (hz < 3500), spectrum, 0), len(said.pcm))
    step = round(said.rate_hz * 0.01)
    power = np.square(band[: len(band) // step * step]).reshape(-1, step).mean(axis=1)
    level = 10 * np.log10(np.convolve(power, np.full(3, 1 / 3), "same") + 1e-9)
    level = np.maximum(level, level.max() - 30)
    rise = np.pad(level[5:] - level[:-5], (2, 3))
    found: list[int] = []
    for at in np.argsort(-rise):
        if rise[at] < 6:
            break
        if all(abs(at - other) >= 10 for other in found):
            found.append(int(at))
    return np.sort(np.array(found)) * 0.01


def near_beat(said: Said) -> NDArray[np.bool_]:
    """Return for each onset whether it is within 80 ms of a beat."""
    beats = onsets(said) / GRID_S
    near: NDArray[np.bool_] = np.abs(beats - beats.round()) * GRID_S <= NEAR_S
    return near


def told(bench: str, **figures: Any) -> None:
    """Print a line."""
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps({"bench": f"manners.{bench}", **rounded}), flush=True)


def levels(plain: Sequence[Said], sentences: Sequence[str], reader: Reader) -> None:
    """Print what the five levels of speed and loudness do."""
    reach = reader.assistant.style_reach

    def at(name: str, level: int, said: Said) -> Said:
        style = SessionStyle(**{name: level})  # type: ignore[arg-type]
        delivery = open_delivery(
            said.rate_hz, speed=style.speed_factor(reach), volume=style.volume_factor
        )
        return replace(said, pcm=np.concatenate([*delivery.push(said.pcm), *delivery.flush()]))

    measures: dict[str, Callable[[Said, str], float]] = {
        "speed": lambda said, text: syllables(text) / spoken_s(said),
        "loudness": lambda said, _: level_db(said),
    }
    for name, measure in measures.items():
        rows = np.array(
            [
                [measure(at(name, level, said), text) for level in range(1, 6)]
                for said, text in zip(plain, sentences, strict=True)
            ]
        )
        told(
            "level",
            of=name,
            n=len(rows),
            medians=[round(float(m), 2) for m in np.median(rows, axis=0)],
            rising=float(np.mean((np.diff(rows, axis=1) > 0).all(axis=1))),
        )


def mood(name: str, tag: str, plain: Sequence[Said], read: Sequence[Said]) -> None:
    """Print whether a mood moved what it should."""
    rows = []
    for before, after in zip(plain, read, strict=True):
        (low, narrow), (high, wide) = pitch_facts(before), pitch_facts(after)
        rows.append(
            (
                12 * np.log2(high / low),
                wide - narrow,
                np.log2(spoken_s(before) / spoken_s(after)),
                level_db(after) - level_db(before),
            )
        )
    moved = np.array(rows)
    right = np.mean(moved * UP[name] > 0, axis=0)
    medians = np.median(moved, axis=0)
    told(
        "mood",
        tag=tag,
        n=len(moved),
        pitch_semitones=float(medians[0]),
        span_semitones=float(medians[1]),
        pace=float(2 ** medians[2]),
        level_db=float(medians[3]),
        right=dict(zip(("pitch", "span", "pace", "level"), right.round(3).tolist(), strict=True)),
    )


def sung(read: Sequence[Said]) -> None:
    """Print how near the asked notes are."""
    off, held = list[float](), list[bool]()
    for said in read:
        f0 = pitch(said)
        for note in said.notes:
            part = f0[round(note.begin_s / _STEP_S) : round(note.end_s / _STEP_S) + 1]
            cents = 1200 * np.log2(np.where(part > 0, part, 1.0) / note.hz)
            off += np.abs(cents[part > 0]).tolist()
            held.append(bool(len(part)) and float(np.mean((part > 0) & (abs(cents) <= 50))) >= 0.5)
    told(
        "sing",
        n=len(read),
        notes=len(held),
        median_cents=float(np.median(off)),
        held=float(np.mean(held)),
    )


def rapped(plain: Sequence[Said], read: Sequence[Said]) -> None:
    """Print how many onsets are on the beat, and how flat the pitch is."""
    told(
        "rap",
        n=len(read),
        onsets=sum(len(onsets(said)) for said in read),
        near=float(np.mean(np.concatenate([near_beat(said) for said in read]))),
        plain_near=float(np.mean(np.concatenate([near_beat(said) for said in plain]))),
        chance=2 * NEAR_S / GRID_S,
        span_semitones=float(np.median([pitch_facts(said)[1] for said in read])),
        plain_span_semitones=float(np.median([pitch_facts(said)[1] for said in plain])),
    )


def words(tag: str, sentences: Sequence[str], read: Sequence[Said]) -> None:
    """Print the word errors."""
    heard = [in_words(hear(said.pcm, said.rate_hz)) for said in read]
    rate = float(word_error_rate([in_words(text) for text in sentences], heard))
    told("words", tag=tag or "plain", n=len(read), wer=rate)


def cost(tag: str, read: Sequence[Said]) -> None:
    """Print what the sound cost."""
    told(
        "cost",
        tag=tag or "plain",
        n=len(read),
        cpu_rtf=sum(said.cpu_s for said in read) / sum(said.seconds for said in read),
        first_ms=float(np.median([said.first_ms for said in read])),
    )


async def measure(profile: str, sentences: Sequence[str], *, with_words: bool) -> None:
    """Read every sentence in every manner, and print."""
    reader = Reader(profile)
    for text in sentences:
        await reader.say(text)  # the model writes its ids
    plain = [await reader.say(text) for text in sentences]
    cost("", plain)
    levels(plain, sentences, reader)
    whispered = [await reader.say(text, "whisper") for text in sentences]
    told(
        "whisper",
        n=len(plain),
        voiced=float(np.mean([voiced_share(said) for said in whispered])),
        plain_voiced=float(np.mean([voiced_share(said) for said in plain])),
    )
    cost("whisper", whispered)
    moods: dict[str, list[Said]] = {}
    for name, tags in MOODS.items():
        for tag in tags:
            moods[tag] = [await reader.say(text, tag) for text in sentences]
            mood(name, tag, plain, moods[tag])
            cost(tag, moods[tag])
    for tag, show in (("sing", sung), ("rap", lambda read: rapped(plain, read))):
        songs = [await reader.say(text, tag) for text in sentences]
        show(songs)
        cost(tag, songs)
        if with_words and tag == "rap":
            moods[tag] = songs
    if with_words:
        words("", sentences, plain)
        for tag, read in moods.items():
            words(tag, sentences, read)
    await reader.assistant.aclose()


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--words", action="store_true", help="word errors too, by Whisper base")
    args = parser.parse_args()
    sentences = [text for text in texts(args.sentences * 4) if _DOMAIN.match(text)]
    asyncio.run(measure(args.profile, sentences[: args.sentences], with_words=args.words))


if __name__ == "__main__":
    main()
