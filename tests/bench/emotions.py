"""Emotions told apart by ear of a classifier. Run: python -m tests.bench.emotions

A linear classifier learns the four (plain, happy, sad, angry) from natural voices' readings, each
given every emotion in both strengths by the transforms that serve (`vocoder.manner_stream`), then
judges nano's own readings of held-out sentences, made by `say` as a deployment makes them
("(sad 2) It is raining in Oslo."). It sees nothing but measures of the sound: mean, deviation and
range of the pitch and share of voiced frames by pyworld, level and its deviation, tilt of the
spectrum, share and length of pauses, and pace, for which it is told how many syllables were read.

A voice is known by its plain readings: every measure is the difference from the median of plain
readings of *other* sentences by the same voice, as a listener knows whom he hears. Voices, and
sentences too, are held out: `emotions.sources` is of voices and sentences that the classifier
never met, `emotions.nano` of nano's. Rows of a confusion table are what was asked, columns what was
told, in the order of `EMOTIONS`. `absolute` is the same without knowing the voice. `--keep FILE`
keeps the measures, so that a second run makes no sound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from step_audio.core.audio import read_sound
from step_audio.core.config import load_profile
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm
from step_audio.dialog.assistant import Assistant
from step_audio.runtime import Runtime
from tests.bench.manners import Said, in_domain, level_db, loud, pitch, said, spoken_s, syllables
from vocoder.grid import SAMPLE_RATE_HZ
from vocoder.hift import HiftGenerator
from vocoder.loading import load_hift
from vocoder.mel import log_mel

EMOTIONS: Final = ("plain", "happy", "sad", "angry")
ASKED: Final = ("", *(f"{name}{level}" for name in EMOTIONS[1:] for level in (1, 2)))
"""Manners, "" for plain."""
MEASURES: Final = (
    *("pitch", "deviation", "range", "voiced", "level", "level deviation", "tilt"),
    *("pauses", "longest pause", "pace"),
)
_STEP_S: Final = 0.005
_RATE_HZ: Final = 24_000  # of places and lengths of natural utterances
_SHORTEST_S, _LONGEST_S = 1.5, 3.5
_STEPS: Final = 400
_DECAY: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Reading:
    """Measures of one reading.

    Attributes:
        voice, text: whose, of what.
        asked: of `ASKED`; `known` marks a plain one that the voice is known by.
        values: of `MEASURES`.
    """

    voice: str
    text: str
    asked: str
    known: bool
    values: NDArray[np.float64]

    @property
    def emotion(self) -> int:
        """Index into `EMOTIONS`."""
        return EMOTIONS.index(self.asked.rstrip("12") or "plain")


def measured(sound: Said, text: str) -> NDArray[np.float64]:
    """Return the `MEASURES` of a reading, (10,)."""
    f0, heard = pitch(sound), loud(sound)
    count = min(len(f0), len(heard))
    f0, heard = f0[:count], heard[:count]
    semitones = 12 * np.log2(f0[f0 > 0])
    low, high = np.percentile(semitones, (5, 95))
    at = np.flatnonzero(heard)
    inside = heard[at[0] : at[-1] + 1]
    step = round(sound.rate_hz * _STEP_S)
    frames = sound.pcm[: count * step].reshape(-1, step)[heard].astype(np.float64)
    levels = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return np.array(
        [
            *(semitones.mean(), semitones.std(), high - low),
            float(np.mean(f0[heard] > 0)),
            *(level_db(sound), levels.std(), tilt_db(sound)),
            float(np.mean(~inside)),
            float(np.diff(np.flatnonzero(inside)).max(initial=1) - 1) * _STEP_S,
            np.log2(syllables(text) / spoken_s(sound)),
        ]
    )


def tilt_db(sound: Said) -> float:
    """Return the level of 1.5 to 6 kHz over that of 0.1 to 1.5 kHz."""
    power = np.abs(np.fft.rfft(sound.pcm.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(sound.pcm), 1 / sound.rate_hz)
    bright = power[(hz >= 1500) & (hz < 6000)].sum()
    dark = power[(hz >= 100) & (hz < 1500)].sum()
    return float(10 * np.log10(bright / dark))


def utterances(people: Path, each: int, known: int) -> Iterator[tuple[str, str, bool, Pcm]]:
    """Yield (voice, text, known by it, samples at 22.05 kHz) of natural voices, `each` of a voice.

    No two voices read the same sentence, so that a held-out voice's sentences are held out too.
    """
    rows = []
    for facts in sorted(people.glob("*.json")):
        rows += [(facts, u) for u in json.loads(facts.read_text())["utterances"]]
    random.Random(0).shuffle(rows)
    taken: dict[str, int] = {}
    seen: set[str] = set()
    chosen: dict[Path, list[tuple[int, int, str, str, bool]]] = {}
    for facts, row in rows:
        lasts = row["samples"] / _RATE_HZ
        voice, text = row["voice"], row["text"]
        count = taken.get(voice, 0)
        if not _SHORTEST_S <= lasts <= _LONGEST_S or text in seen or count >= each + known:
            continue
        seen.add(text)
        taken[voice] = count + 1
        chosen.setdefault(facts, []).append(
            (row["start"], row["samples"], voice, text, count < known)
        )
    for facts, parts in sorted(chosen.items()):
        file = next(
            facts.with_suffix(e) for e in (".flac", ".ogg") if facts.with_suffix(e).exists()
        )
        sound = read_sound(file, 3600)  # Opus is decoded at 48 kHz, whatever went in
        for start, samples, voice, text, by in parts:
            begin, end = (round(at / _RATE_HZ * sound.rate_hz) for at in (start, start + samples))
            yield voice, text, by, resample(sound.pcm[begin:end], sound.rate_hz, SAMPLE_RATE_HZ)


def sources(hift: HiftGenerator, people: Path, each: int, known: int) -> list[Reading]:
    """Return the measures of natural voices' sentences in every emotion."""
    out = []
    for voice, text, by, pcm in utterances(people, each, known):
        mel = log_mel(torch.from_numpy(pcm)[None])[0].T
        for asked in ("",) if by else ASKED:
            out.append(Reading(voice, text, asked, by, measured(said(hift, mel, asked), text)))
    return out


async def nano(profile: str, sentences: Sequence[str], known: int) -> list[Reading]:
    """Return the measures of nano's own readings; it is known by the first `known` sentences."""
    runtime = Runtime(load_profile(profile))
    settings = runtime.settings()
    assistant = Assistant(
        runtime.services(), replace(settings, reading=replace(settings.reading, seed=0))
    )
    out = []
    for at, text in enumerate(sentences):
        for asked in ("",) if at < known else ASKED:
            tag = f"({asked[:-1]} {asked[-1]}) " if asked else ""
            chunks = [chunk async for chunk in assistant.say(tag + text)]
            sound = Said(np.concatenate([c.pcm for c in chunks]), rate_hz=chunks[0].rate_hz)
            out.append(Reading("nano", text, asked, at < known, measured(sound, text)))
    await assistant.aclose()
    return out


def inputs(
    readings: Sequence[Reading], *, relative: bool
) -> tuple[NDArray[np.float64], list[Reading]]:
    """Return the classifier's inputs, (N, 10), and their readings, without the known ones."""
    plain = {
        voice: np.median([r.values for r in readings if r.known and r.voice == voice], axis=0)
        for voice in {r.voice for r in readings}
    }
    judged = [r for r in readings if not r.known]
    return np.array([r.values - plain[r.voice] * relative for r in judged]), judged


class Classifier:
    """Multinomial logistic regression of standardised measures, each emotion weighted alike."""

    def __init__(self, values: NDArray[np.float64], emotions: Sequence[int]) -> None:
        self._mean, self._scale = values.mean(axis=0), values.std(axis=0)
        torch.manual_seed(0)
        self._linear = nn.Linear(values.shape[1], len(EMOTIONS), dtype=torch.float64)
        target = torch.tensor(emotions)
        weight = 1 / torch.bincount(target, minlength=len(EMOTIONS)).double().clamp(min=1)
        inputs = self._standard(values)
        optimizer = torch.optim.LBFGS(self._linear.parameters(), max_iter=_STEPS)

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            found = nn.functional.cross_entropy(self._linear(inputs), target, weight=weight)
            found = found + _DECAY * self._linear.weight.square().sum()
            found.backward()  # type: ignore[no-untyped-call]
            return found

        optimizer.step(loss)  # type: ignore[no-untyped-call]

    def told(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the most likely emotion of each row."""
        with torch.no_grad():
            found: NDArray[np.int64] = self._linear(self._standard(values)).argmax(dim=1).numpy()
        return found

    def _standard(self, values: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy((values - self._mean) / self._scale)


def show(name: str, judged: Sequence[Reading], told: NDArray[np.int64], **more: float) -> None:
    """Print how many were confused, in all and by what was asked, each emotion weighted alike."""
    asked = np.array([r.emotion for r in judged])
    table = np.zeros((len(EMOTIONS),) * 2, dtype=int)
    np.add.at(table, (asked, told), 1)
    of = {
        tag or "plain": round(
            float(
                np.mean(
                    [t != r.emotion for r, t in zip(judged, told, strict=True) if r.asked == tag]
                )
            ),
            3,
        )
        for tag in ASKED
    }
    shares = 1 - np.diag(table) / table.sum(axis=1)
    figures = {
        "n": len(judged),
        "confused": round(float(shares.mean()), 3),
        "of": of,
        "table": table.tolist(),
        **more,
    }
    print(json.dumps({"bench": f"emotions.{name}", **figures}), flush=True)


def evaluate(natural: Sequence[Reading], own: Sequence[Reading], parts: int) -> None:
    """Print the confusions on held-out voices, in `parts` turns, and on nano's readings."""
    for relative, name in ((True, ""), (False, ".absolute")):
        values, judged = inputs(natural, relative=relative)
        emotions = [r.emotion for r in judged]
        voices = sorted({r.voice for r in judged})
        random.Random(1).shuffle(voices)
        edges = [round(n * len(voices) / parts) for n in range(parts + 1)]
        told = np.zeros(len(judged), np.int64)
        for begin, end in pairwise(edges):
            held = np.array([r.voice in voices[begin:end] for r in judged])
            taught = [emotion for emotion, out in zip(emotions, held, strict=True) if not out]
            told[held] = Classifier(values[~held], taught).told(values[held])
        show(f"sources{name}", judged, told, voices=len(voices))
        if own:
            found, readings = inputs(own, relative=relative)
            show(f"nano{name}", readings, Classifier(values, emotions).told(found))


def kept(file: Path | None, readings: Sequence[Reading]) -> None:
    """Write the measures to a file."""
    if file:
        rows = [(r.voice, r.text, r.asked, r.known, r.values.tolist()) for r in readings]
        file.write_text(json.dumps(rows))


def main() -> None:
    """Parse, measure, learn and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--people", type=Path, default=Path("../shared/people"))
    parser.add_argument("--each", type=int, default=4, help="sentences of a natural voice")
    parser.add_argument("--known", type=int, default=4, help="plain ones that a voice is known by")
    parser.add_argument("--sentences", type=int, default=20, help="that nano reads")
    parser.add_argument("--nano-known", type=int, default=8, help="plain ones it is known by")
    parser.add_argument("--parts", type=int, default=6, help="turns of held-out voices")
    parser.add_argument("--keep", type=Path, help="file (.json) of the measures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.keep and args.keep.is_file():
        rows = json.loads(args.keep.read_text())
        all_of = [
            Reading(v, text, asked, known, np.array(of)) for v, text, asked, known, of in rows
        ]
    else:
        hift = load_hift(load_profile(args.profile).weights / "vocoder" / "hift.safetensors")
        all_of = sources(hift, args.people, args.each, args.known)
        kept(args.keep, all_of)
        sentences = in_domain(args.nano_known + args.sentences)
        all_of += asyncio.run(nano(args.profile, sentences, args.nano_known))
        kept(args.keep, all_of)
    evaluate(
        [r for r in all_of if r.voice != "nano"],
        [r for r in all_of if r.voice == "nano"],
        args.parts,
    )


if __name__ == "__main__":
    main()
