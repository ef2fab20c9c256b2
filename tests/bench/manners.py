"""Manners as they are heard. Run: python -m tests.bench.manners [--sentences 20] [--words 20]

Nano reads held-out sentences of its world once; the mel of each goes through the waveform stream of
every manner, as in a deployment. What is measured is measured in the sound, by tools that no model
of ours saw: the pitch by pyworld (DIO and StoneMask, 60 to 500 Hz), words by Whisper base, level,
pace and onsets from the samples.

Lines of JSON, each as soon as it is known. `manners.level`: medians at the five levels of speed and
of loudness, and in how many sentences the measure rises at every step. `manners.mood`: against the
same sentence read plainly, the share of sentences whose pitch, span of the pitch, pace and level
moved as they should. `manners.whisper`: share of voiced frames among those that are not silent.
`manners.sing`: median deviation from the asked notes, and the share of notes that are held (voiced
and within 50 cents for half of their time). `manners.rap`: share of onsets within 80 ms of a beat,
of the same sentences read plainly too, and what chance would give. `manners.words`: word errors.
`manners.cost`: processor time of the waveform over length of the sound; what is in front of it is
the same for all. `--mels FILE` keeps the mels, and a second run needs no language model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyworld
import torch
from numpy.typing import NDArray
from torch import Tensor

from server.realtime.wire.style import SessionStyle
from step_audio.core.config import load_profile
from step_audio.core.delivery import open_delivery
from step_audio.core.types import Pcm
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.speakable.style_tags import StyleReach
from step_audio.eval.wer import word_error_rate
from step_audio.eval.whisper import hear
from step_audio.nano.exam.judge import in_words
from step_audio.runtime import Runtime
from tests.bench.speech import texts
from vocoder.grid import SAMPLE_RATE_HZ
from vocoder.hift import HiftGenerator
from vocoder.hift_stream import HiftStream
from vocoder.loading import load_hift
from vocoder.manner_stream import open_manner
from vocoder.manners import manner_of
from vocoder.song import GRID_S, Note
from vocoder.song_stream import SongStream
from vocoder.stream import FlowVocoder, WaveStream

MOODS: Final = {
    "happy": ("happy1", "happy2"),
    "sad": ("sad1", "sad2"),
    "angry": ("angry1", "angry2"),
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
    notes: tuple[Note, ...] = ()
    cpu_s: float = 0.0
    rate_hz: int = SAMPLE_RATE_HZ


class Kept:
    """A waveform stream that makes nothing and keeps the mel."""

    def __init__(self) -> None:
        self.mel: list[Tensor] = []

    def push(self, mel: Tensor, /, ahead: Tensor | None = None) -> list[Pcm]:
        """Keep finished frames; one sample a push, so that nobody takes it for silence."""
        self.mel.append(mel.clone())
        return [np.zeros(1, np.float32)]

    def flush(self) -> list[Pcm]:
        """Return nothing."""
        return []


def in_domain(count: int) -> list[str]:
    """Return held-out sentences of what nano answers."""
    return [text for text in texts(count * 4) if _DOMAIN.match(text)][:count]


async def mels(profile: str, sentences: Sequence[str]) -> list[Tensor]:
    """Return what nano's flow makes of each sentence, (T, 80)."""
    runtime, opened = Runtime(load_profile(profile)), list[Kept]()

    def kept(_: int) -> WaveStream:
        opened.append(Kept())
        return opened[-1]

    parts, settings = runtime.services(), runtime.settings()
    assert isinstance(parts.vocoder, FlowVocoder)
    assistant = Assistant(
        replace(parts, vocoder=parts.vocoder.with_waves(kept)),
        replace(settings, reading=replace(settings.reading, seed=0)),
    )
    out = []
    for text in sentences:
        opened.clear()
        async for _ in assistant.say(text):
            pass
        out.append(torch.cat([mel for stream in opened for mel in stream.mel]))
    await assistant.aclose()
    return out


def said(hift: HiftGenerator, mel: Tensor, manner: str = "") -> Said:
    """Return the sound of a mel in a manner, "" for plain."""
    begun = time.process_time()
    stream = open_manner(hift, 0, manner_of([manner])) if manner else HiftStream(hift, 0)
    pcm = np.concatenate([*stream.push(mel), *stream.flush()])
    notes = tuple(stream.notes) if isinstance(stream, SongStream) else ()
    return Said(pcm, notes, time.process_time() - begun)


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


def levels(plain: Sequence[Said], sentences: Sequence[str]) -> None:
    """Print what the five levels of speed and loudness do."""
    reach = StyleReach()

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
                [measure(at(name, level, each), text) for level in range(1, 6)]
                for each, text in zip(plain, sentences, strict=True)
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
    told("words", tag=tag, n=len(read), wer=rate)


def cost(tag: str, read: Sequence[Said]) -> None:
    """Print what the sound cost."""
    seconds = sum(len(said.pcm) / said.rate_hz for said in read)
    told("cost", tag=tag, n=len(read), cpu_rtf=sum(said.cpu_s for said in read) / seconds)


def measure(
    hift: HiftGenerator,
    sentences: Sequence[str],
    spoken: Sequence[Tensor],
    args: argparse.Namespace,
) -> None:
    """Make every sentence in the manners that were asked for, and print."""
    heard = slice(0, args.words)
    said(hift, spoken[0])  # warm up
    plain = [said(hift, mel) for mel in spoken]
    cost("plain", plain)
    if args.words:
        words("plain", sentences[heard], plain[heard])
    for tag in args.manners:
        if tag == "levels":
            levels(plain, sentences)
            continue
        read = [said(hift, mel, tag) for mel in spoken]
        cost(tag, read)
        if tag == "whisper":
            shares = [float(np.mean([*map(voiced_share, each)])) for each in (read, plain)]
            told("whisper", n=len(read), voiced=shares[0], plain_voiced=shares[1])
        elif tag == "sing":
            sung(read)
        elif tag == "rap":
            rapped(plain, read)
        else:
            mood(tag.rstrip("12"), tag, plain, read)
        if args.words and tag not in ("whisper", "sing"):
            words(tag, sentences[heard], read[heard])


def main() -> None:
    """Parse and measure."""
    every = ["levels", *(tag for tags in MOODS.values() for tag in tags), "whisper", "sing", "rap"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument(
        "--words", type=int, default=0, help="of so many sentences, by Whisper base"
    )
    parser.add_argument("--manners", nargs="+", choices=every, default=every)
    parser.add_argument("--mels", type=Path, help="file (.pt) that keeps the mels")
    args = parser.parse_args()
    torch.set_num_threads(1)
    profile = load_profile(args.profile)
    if args.mels and args.mels.is_file():
        kept = torch.load(args.mels, weights_only=True)
    else:
        found = in_domain(args.sentences)
        kept = dict(zip(found, asyncio.run(mels(args.profile, found)), strict=True))
        if args.mels:
            torch.save(kept, args.mels)
    sentences = [*kept][: args.sentences]
    hift = load_hift(profile.weights / "vocoder" / "hift.safetensors")
    measure(hift, sentences, [kept[text] for text in sentences], args)


if __name__ == "__main__":
    main()
