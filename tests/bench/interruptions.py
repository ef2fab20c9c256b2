"""Short sounds and real interruptions over a long answer. Run: python -m tests.bench.interruptions

Each sound is played into a session whose answer is under way, through the turn detector that
profiles ship with. A backchannel ("mm-hmm", a cough, a laugh) must not end the answer; an
interruption must. `silence_ms`: from the first sample of an interruption to the end of the sound,
in time of the input.

`--profile NAME` has the profile's own model hear the sounds (`turns.backchannel_ms`); without it
the length alone decides (`turns.resume_ms`). The answer itself is a script.

Sounds are spoken by Debian's machine voices; `--sounds FOLDER` takes recordings instead, wav files
below `FOLDER/backchannels` and `FOLDER/interruptions`. What ended or did not end against its kind
is listed on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from server.realtime.session.dispatch import RealtimeSession
from server.realtime.session.send_queue import SOUND, SendQueue
from step_audio.core.audio import float_to_pcm16, read_audio
from step_audio.core.config import load_profile
from step_audio.core.ports import Engine, Services
from step_audio.core.resampling import resample
from step_audio.core.types import GenerationRequest, Pcm
from step_audio.data.speakers import speaker
from step_audio.data.synthesis import synthesize
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings, TurnSettings
from step_audio.runtime import Runtime
from tests.fakes import (
    VOCAB,
    FixedClock,
    ScriptedEngine,
    SineVocoder,
    group,
    services,
    text_ids,
)
from tokenizer.silero import SileroTurnDetector

RATE_HZ: Final = 24_000
VOICES: Final = ("flite-rms", "flite-slt", "flite-awb", "flite-kal16", "espeak-en-us")
BACKCHANNELS: Final = ("um hum", "yeah", "right", "uh huh", "okay", "sure", "I see", "hum")
"""Machine voices read "mm hmm" and "hmm" as letters."""
INTERRUPTIONS: Final = (
    "stop",
    "wait a moment",
    "no, I meant London",
    "what about tomorrow",
    "please be quiet",
    "hold on, that is wrong",
    "can you say that again",
    "never mind, thank you",
    "and how many is that",
    "tell me something else",
)
LEVEL: Final = 0.3
ANSWER_GROUPS: Final = 400


@dataclass(frozen=True, slots=True)
class Played:
    """What a sound did: whether the answer ended for good, and when its sound stopped."""

    ended: bool
    silence_ms: float | None


def spoken(text: str, voice: str) -> Pcm:
    """Return a text said by a machine voice at 24 kHz, from its first to its last loud sample."""
    pcm, rate_hz = synthesize(text, speaker(voice))
    return trimmed(resample(pcm, rate_hz, RATE_HZ))


def trimmed(pcm: Pcm) -> Pcm:
    """Return sound at a usual level, without the silence around it."""
    loud = np.flatnonzero(np.abs(pcm) > 0.05 * np.abs(pcm).max())
    cut = pcm[loud[0] : loud[-1] + 1]
    level: Pcm = (LEVEL / np.abs(cut).max() * cut).astype(np.float32)
    return level


def burst(rng: np.random.Generator, length_ms: int, times: int) -> Pcm:
    """Return noise that rises at once and fades, so many times: a cough, or a laugh."""
    n = RATE_HZ * length_ms // 1000
    fade = np.exp(-np.arange(n) / (n / 3))
    one = np.convolve(rng.normal(size=n) * fade, np.hanning(24), "same")
    whole: Pcm = np.tile(np.concatenate([one, np.zeros(n // 2)]), times).astype(np.float32)
    return trimmed(whole)


class EngineWithEar(ScriptedEngine):
    """Answers by script; which phrase was said, a real engine is asked."""

    def __init__(self, script: list[int], ear: Engine | None) -> None:
        # The script never ends: the answer is under way whenever the sound comes.
        super().__init__([script], hold=600)
        self._ear = ear

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[int, None]:
        """Yield the ids of either."""
        asked = self._ear if request.transcripts else None
        ids = super().generate(request) if asked is None else asked.generate(request)
        async with aclosing(cast("AsyncGenerator[int, None]", ids)) as drawn:
            async for token_id in drawn:
                yield token_id


def parts_of(profile: str | None) -> tuple[Services, DialogSettings]:
    """Return fakes, or fakes that hear with a profile's own parts."""
    text = " ".join(f"Town {n} has {7 * n} houses." for n in range(40))
    answer = [group(n) for n in range(ANSWER_GROUPS)]
    if profile is None:
        engine = EngineWithEar(interleave(text_ids(text), answer, VOCAB), None)
        return services(engine), DialogSettings()
    runtime = Runtime(load_profile(profile))
    real = runtime.services()
    words = real.text_tokenizer.encode(text)
    engine = EngineWithEar(interleave(words, answer, real.vocab), real.engine)
    return replace(real, engine=engine, vocoder=SineVocoder()), runtime.settings()


async def play(pcm: Pcm, turns: TurnSettings, parts: Services, settings: DialogSettings) -> Played:
    """Play a sound over an answer and a second and a half of silence behind it."""
    clock = FixedClock()
    engine = cast("EngineWithEar", parts.engine)
    engine.aborted.clear()
    services_ = replace(parts, clock=clock)
    assistant, queue = Assistant(services_, replace(settings, turns=turns)), SendQueue(4096)
    events: list[tuple[float, dict[str, Any]]] = []

    async def drain() -> None:
        while True:
            try:
                async with asyncio.timeout(0.01):
                    events.append((clock.now, await queue.take()))
            except TimeoutError:
                return

    async with asyncio.TaskGroup() as tasks:
        session = RealtimeSession(assistant, queue, tasks)

        async def send(kind: str, **fields: Any) -> None:
            await session.handle(json.dumps({"type": kind, **fields}))

        async def hear(sound: Pcm) -> None:
            for at in range(0, len(sound), 480):
                clock.now += 0.02
                chunk = base64.b64encode(float_to_pcm16(sound[at : at + 480])).decode()
                await send("input_audio_buffer.append", audio=chunk)
                await session._hearing.heard_all()
                while len(queue):
                    events.append((clock.now, await queue.take()))

        content = [{"type": "input_text", "text": "what time is it"}]
        item = {"type": "message", "role": "user", "content": content}
        await send("conversation.item.create", item=item)
        await send("response.create")
        while not any(event["type"] == SOUND for _, event in events):
            await drain()
        await hear(np.zeros(RATE_HZ // 2, np.float32))
        began = clock.now
        await hear(pcm)
        await hear(np.zeros(RATE_HZ * 3 // 2, np.float32))
        await drain()
        ended = bool(engine.aborted) or not session.turns.busy
        await session.close()
    stopped = [at for at, event in events if event["type"] == "response.done" and at > began]
    return Played(ended, (stopped[0] - began) * 1000 if stopped else None)


def sounds(folder: Path | None, kind: str, count: int) -> list[Pcm]:
    """Return `count` sounds of a kind."""
    if folder is not None:
        read = [read_audio(path) for path in sorted((folder / kind).glob("*.wav"))[:count]]
        return [trimmed(resample(pcm, rate_hz, RATE_HZ)) for pcm, rate_hz in read]
    rng = np.random.default_rng(0)
    if kind == "interruptions":
        pairs = [(text, voice) for text in INTERRUPTIONS for voice in VOICES]
        return [spoken(text, voice) for text, voice in pairs][:count]
    made = [spoken(text, voice) for text in BACKCHANNELS for voice in VOICES]
    made += [burst(rng, int(rng.integers(120, 300)), 1) for _ in range(5)]
    made += [burst(rng, int(rng.integers(60, 110)), int(rng.integers(2, 4))) for _ in range(5)]
    return made[:count]


async def main() -> None:
    """Play all sounds for each value of `turns.resume_ms`, one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sounds", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--resume-ms", type=int, nargs="*", default=[400])
    parser.add_argument("--backchannel-ms", type=int, help="with --profile; its own by default")
    parser.add_argument("--profile")
    args = parser.parse_args()
    parts, settings = parts_of(args.profile)
    parts = replace(parts, turn_detector=SileroTurnDetector())
    longest_ms = settings.turns.backchannel_ms if args.profile else 0
    if args.backchannel_ms is not None:
        longest_ms = args.backchannel_ms
    kinds = {
        kind: sounds(args.sounds, kind, args.count) for kind in ("backchannels", "interruptions")
    }
    for resume_ms in args.resume_ms:
        row: dict[str, Any] = {"bench": "interruptions", "profile": args.profile}
        row |= {"resume_ms": resume_ms, "backchannel_ms": longest_ms}
        turns = TurnSettings(speculate=False, resume_ms=resume_ms, backchannel_ms=longest_ms)
        for kind, made in kinds.items():
            played = [await play(pcm, turns, parts, settings) for pcm in made]
            row[kind] = len(made)
            odd = [at for at, one in enumerate(played) if one.ended is (kind == "backchannels")]
            print(f"{kind} against their kind: {odd}", file=sys.stderr)
            row[f"{kind}_that_ended_the_answer"] = sum(one.ended for one in played)
            silent = [one.silence_ms for one in played if one.silence_ms is not None]
            if kind == "interruptions" and silent:
                row["silence_ms_p50"], row["silence_ms_p95"] = (
                    round(float(value)) for value in np.percentile(silent, [50, 95])
                )
        lengths = [len(pcm) * 1000 / RATE_HZ for pcm in kinds["backchannels"]]
        row["backchannel_ms_p50"], row["backchannel_ms_p95"] = (
            round(float(value)) for value in np.percentile(lengths, [50, 95])
        )
        print(json.dumps(row))


if __name__ == "__main__":
    asyncio.run(main())
