"""Streamed speech beside the same made in one piece. Run: make voice-eval

Sentences of the domain, spoken by the source voice, go through the ear; their tokens are spoken
again by the vocoder as it serves, and in one window with the whole mel decoded at once. A judge
hears both. `mel`: mean difference of the log-mel, in nats, beside that of two seeds in one piece.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from step_audio.core.config import load_profile
from step_audio.core.ports import AudioTokenizer
from step_audio.core.resampling import resample_input
from step_audio.core.types import Pcm, TokenGroup, Voice
from step_audio.data.speakers import speaker
from step_audio.data.synthesis import synthesize
from step_audio.eval.wer import word_error_rate
from step_audio.nano.domain import generate
from step_audio.nano.exam.judge import Judge, domain_judge
from step_audio.runtime import Runtime
from tests.seams import borders, jump_ratios, summary
from vocoder.mel import log_mel
from vocoder.stream import FlowVocoder


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sentence: its text, its tokens, the pieces of its streamed sound, and it in one piece."""

    text: str
    groups: tuple[TokenGroup, ...]
    pieces: list[Pcm]
    whole: Pcm
    other_seed: Pcm


def sentences(count: int, seed: int) -> Iterator[tuple[str, Pcm, int]]:
    """Yield texts with their sound in the source voice."""
    rng = random.Random(seed)
    for _ in range(count):
        text = generate(rng, "train").answer
        yield text, *synthesize(text, speaker("flite-rms"))


def heard_tokens(ear: AudioTokenizer, pcm: Pcm, rate_hz: int) -> tuple[TokenGroup, ...]:
    """Return the tokens of a clip."""
    stage = ear.open()
    return (*stage.push(resample_input(pcm, rate_hz, ear.sample_rate_hz)), *stage.flush())


def stream(
    vocoder: FlowVocoder, voice: Voice, groups: tuple[TokenGroup, ...], seed: int
) -> list[Pcm]:
    """Return the pieces of a stream."""
    stage = vocoder.open(voice, seed)
    return [*(piece for group in groups for piece in stage.push(group)), *stage.flush()]


def mel(pcm: Pcm) -> NDArray[np.float32]:
    """Return the log-mel, (T, 80)."""
    out: NDArray[np.float32] = log_mel(torch.from_numpy(pcm)[None])[0].T.numpy()
    return out


def figures(spoken: list[Spoken], rate_hz: int, judge: Judge | None) -> dict[str, object]:
    """Return what the JSON line holds."""
    joined = [np.concatenate(s.pieces) for s in spoken]
    at = [borders(s.pieces) for s in spoken]
    ratios = (
        np.concatenate([jump_ratios(p, a, rate_hz) for p, a in zip(sound, at, strict=True)])
        for sound in (joined, [s.whole for s in spoken])
    )
    streamed, whole = (asdict(summary(r)) for r in ratios)
    pairs = list(zip(joined, spoken, strict=True))
    result: dict[str, object] = {
        "sentences": len(spoken),
        "seconds": round(sum(map(len, joined)) / rate_hz, 1),
        "borders": sum(map(len, at)),
        "lengths_exact": all(len(p) == len(s.whole) == 2646 * len(s.groups) for p, s in pairs),
        "finite": all(bool(np.isfinite(p).all()) for p in joined),
        "mel": round(float(np.mean([np.abs(mel(p) - mel(s.whole)).mean() for p, s in pairs])), 3),
        "mel_of_seeds": round(
            float(np.mean([np.abs(mel(s.other_seed) - mel(s.whole)).mean() for s in spoken])), 3
        ),
        "jumps": {name: round(value, 2) for name, value in streamed.items()},
        "jumps_whole": {name: round(value, 2) for name, value in whole.items()},
    }
    if judge is not None:
        texts = [s.text for s in spoken]
        for name, sounds in (("wer", joined), ("wer_whole", [s.whole for s in spoken])):
            heard = [judge.hear(pcm, rate_hz) for pcm in sounds]
            result[name] = round(word_error_rate(texts, heard), 4)
    return result


def speak(
    ear: AudioTokenizer, vocoder: FlowVocoder, voice: Voice, count: int, seed: int
) -> list[Spoken]:
    """Say `count` sentences in all three ways."""
    whole = vocoder.in_one_piece()
    spoken = []
    for number, (text, pcm, rate_hz) in enumerate(sentences(count, seed)):
        groups = heard_tokens(ear, pcm, rate_hz)
        ways = (
            stream(vocoder, voice, groups, number),
            stream(whole, voice, groups, number),
            stream(whole, voice, groups, number + 1_000_000),
        )
        joined = [np.concatenate(way) for way in ways]
        spoken.append(Spoken(text, groups, ways[0], joined[1], joined[2]))
    return spoken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--sentences", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, help="vocoder.ode_steps of the profile")
    args = parser.parse_args()
    environ = {} if args.steps is None else {"STEP_AUDIO__VOCODER__ODE_STEPS": str(args.steps)}
    profile = load_profile(args.profile, environ)
    parts = Runtime(profile)
    vocoder = parts.vocoder()
    if not isinstance(vocoder, FlowVocoder):
        parser.error("this profile's vocoder is no flow")
    voice = parts.voices().get(profile.voice)
    spoken = speak(parts.audio_tokenizer(), vocoder, voice, args.sentences, args.seed)
    result = figures(spoken, vocoder.sample_rate_hz, domain_judge())
    print(json.dumps({"bench": "vocoder.quality", "profile": args.profile} | result))


if __name__ == "__main__":
    main()
