"""Where the time goes from the end of a question to the first sound.

Run: python -m tests.bench.timeline    (also into --out, for make figures)

Spoken questions come as they would be spoken and are read ahead, as in a session; what is measured
begins when the last sample is in. Stages, one after the other, as medians over all questions:

    ear         the rest of the question becomes codes
    prompt      the language model reads what it has not read ahead, to its first id
    transcript  it writes down what it heard
    words       it writes words and codes until the vocoder has enough for its first chunk
    vocoder     the first chunk becomes sound
    wait        the first chunk waits until the rest will follow without a gap

An early answer, begun in the pause before the turn ends, takes all of it out of the time after the
turn: `python -m tests.bench.load --profile nano` measures that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from step_audio.core.audio import read_audio
from step_audio.core.config import load_profile
from step_audio.core.ports import ChunkSizes, Engine, Stage, Vocoder
from step_audio.core.resampling import resample
from step_audio.core.types import (
    GROUP_MS,
    AudioChunk,
    GenerationRequest,
    Pcm,
    TextDelta,
    TokenGroup,
    Transcript,
    Voice,
)
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.tool_calls.tool_choice import FREE
from step_audio.runtime import Runtime

ROOT: Final = Path(__file__).parents[2]
SAMPLES: Final = ROOT / "web" / "samples"
QUESTIONS: Final = ("capital", "legs", "joke", "sum", "time")
STAGES: Final = ("ear", "prompt", "transcript", "words", "vocoder", "wait")
RATE_HZ: Final = 24_000
WARM_UP: Final = 1


@dataclass
class Marks:
    """Readings of the clock of one turn, by what happened then; of each the first."""

    now_s: Callable[[], float]
    at: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str) -> None:
        """Note the time, if it is the first of its name."""
        self.at.setdefault(name, self.now_s())


class MarkedEngine:
    """An engine that tells when its first id came."""

    def __init__(self, engine: Engine, marks: Marks) -> None:
        self._engine, self._marks = engine, marks

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[int, None]:
        ids = self._engine.generate(request)
        async with aclosing(ids):  # type: ignore[type-var] # engines return generators
            async for one in ids:
                self._marks.mark("first_id")
                yield one

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        await self._engine.prefill(prompt, session)

    async def ready(self) -> bool:
        return await self._engine.ready()

    async def aclose(self) -> None:
        await self._engine.aclose()


class MarkedVocoder:
    """A vocoder that tells when the first chunk was begun and made."""

    def __init__(self, vocoder: Vocoder, marks: Marks) -> None:
        self._vocoder, self._marks = vocoder, marks

    @property
    def sample_rate_hz(self) -> int:
        return self._vocoder.sample_rate_hz

    @property
    def chunks(self) -> ChunkSizes:
        return self._vocoder.chunks

    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]:
        return _MarkedStage(self._vocoder.open(voice, seed), self._marks)


class _MarkedStage:
    def __init__(self, stage: Stage[TokenGroup, Pcm], marks: Marks) -> None:
        self._stage, self._marks = stage, marks

    def push(self, group: TokenGroup, /) -> list[Pcm]:
        return self._made(lambda: list(self._stage.push(group)))

    def flush(self) -> list[Pcm]:
        return self._made(lambda: list(self._stage.flush()))

    def _made(self, work: Callable[[], list[Pcm]]) -> list[Pcm]:
        begun_s = self._marks.now_s()
        made = work()
        if any(map(len, made)):
            self._marks.at.setdefault("vocoder_begun", begun_s)
            self._marks.mark("vocoder_made")
        return made


async def turn(assistant: Assistant, marks: Marks, name: str, seed: int) -> dict[str, float] | None:
    """Return the milliseconds of each stage; None for an answer without sound."""
    pcm, rate_hz = read_audio(SAMPLES / f"{name}.mp3")
    pcm = resample(pcm, rate_hz, RATE_HZ)
    question, conversation = assistant.question(RATE_HZ), Conversation()
    ahead = assistant.read_ahead(f"timeline-{seed}")
    tools = assistant.told_tools((), FREE)
    step = RATE_HZ * GROUP_MS // 1000
    for start in range(0, len(pcm), step):
        await assistant.listen(question, pcm[start : start + step])
        ahead.follow(conversation, question, assistant.system_text(None), tools)
        await asyncio.sleep(GROUP_MS / 1000)
    marks.at.clear()
    marks.mark("ended")
    conversation.add(UserAudio.spoken("question", await assistant.finish(question)))
    marks.mark("heard")
    sampling = replace(assistant.settings.sampling, seed=seed)
    session = f"timeline-{seed}"
    async for event in assistant.answer(conversation, sampling=sampling, session=session):
        if isinstance(event, Transcript):
            marks.mark("transcript")
        elif isinstance(event, TextDelta):
            marks.mark("words")
        elif isinstance(event, AudioChunk):
            marks.mark("sound")
    at = marks.at
    if "sound" not in at or "vocoder_made" not in at:
        return None
    written = at.get("transcript", at["first_id"])
    ends = ("heard", "first_id", "", "vocoder_begun", "vocoder_made", "sound")
    times = [at["ended"], *(at[end] if end else written for end in ends)]
    return {
        stage: 1000 * (after - before)
        for stage, before, after in zip(STAGES, times, times[1:], strict=False)
    }


async def measure(profile: str, rounds: int) -> dict[str, object]:
    """Ask every question in each round and return the medians."""
    parts = Runtime(load_profile(profile))
    services = parts.services()
    marks = Marks(services.clock.now_s)
    services = replace(
        services,
        engine=MarkedEngine(services.engine, marks),
        vocoder=MarkedVocoder(services.vocoder, marks),
    )
    assistant = Assistant(services, parts.settings())
    await turn(assistant, marks, QUESTIONS[0], 0)
    seeds = range(WARM_UP, WARM_UP + rounds * len(QUESTIONS))
    made = [await turn(assistant, marks, QUESTIONS[seed % len(QUESTIONS)], seed) for seed in seeds]
    await assistant.aclose()
    spoken = [one for one in made if one is not None]
    if not spoken:
        raise SystemExit("no answer had sound: nothing to measure")
    stages = {stage: [one[stage] for one in spoken] for stage in STAGES}
    totals = [sum(one.values()) for one in spoken]
    return {
        "bench": "timeline",
        "profile": profile,
        "turns": len(spoken),
        "stages_ms": {stage: round(float(np.median(ms)), 1) for stage, ms in stages.items()},
        "p95_ms": {stage: round(float(np.percentile(ms, 95)), 1) for stage, ms in stages.items()},
        "first_sound_ms": round(float(np.median(totals)), 1),
        "first_sound_p95_ms": round(float(np.percentile(totals, 95)), 1),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--rounds", type=int, default=4, help="of five questions")
    parser.add_argument("--out", type=Path, help="such as build/figures/a.jsonl")
    args = parser.parse_args()
    line = json.dumps(asyncio.run(measure(args.profile, args.rounds)))
    print(line)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(line + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
