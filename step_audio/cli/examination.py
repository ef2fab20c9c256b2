"""`examine`: the table of bars, measured on a profile as it serves."""

from __future__ import annotations

import argparse
import asyncio

import numpy as np

from step_audio.cli.parts import Load
from step_audio.cli.speech import Reply, answer
from step_audio.core.audio import resample
from step_audio.core.config import load_profile
from step_audio.core.ports import Services
from step_audio.core.profile import Tools
from step_audio.core.types import Pcm, ToolCall
from step_audio.dialog.session import Assistant
from step_audio.eval.exam import TOOL_SEED
from step_audio.eval.examinee import AnswerRecord
from step_audio.eval.nano import run


def examine(args: argparse.Namespace, load: Load) -> int:
    """Ask held-out questions, judge the answers, write and print the report."""
    # Right answers are known for these tools only.
    profile = load_profile(args.profile)
    profile = profile.model_copy(update={"tools": Tools(kind="fake", seed=TOOL_SEED)})
    parts = load(profile)
    with asyncio.Runner() as runner:
        assistant = Assistant(parts.services(), parts.settings())

        def answerer(pcm: Pcm, rate_hz: int) -> AnswerRecord:
            return _record(runner.run(answer(assistant, pcm, rate_hz)))

        def resynthesiser(pcm: Pcm, rate_hz: int) -> tuple[Pcm, int]:
            return resynthesise(assistant.services, pcm, rate_hz)

        report = run(
            answerer, resynthesiser, args.output, args.questions, weights_dir=profile.weights
        )
        runner.run(assistant.aclose())
    print(report.to_markdown())
    print(report.to_json())
    return 0


def resynthesise(services: Services, pcm: Pcm, rate_hz: int) -> tuple[Pcm, int]:
    """Return speech (T,) after tokenizer and vocoder, in the default voice, and its rate."""
    heard = services.audio_tokenizer.open()
    sound = resample(pcm, rate_hz, services.audio_tokenizer.sample_rate_hz)
    groups = [*heard.push(sound), *heard.flush()]
    spoken = services.vocoder.open(services.voices.get(services.default_voice))
    chunks = [chunk for group in groups for chunk in spoken.push(group)]
    return np.concatenate([*chunks, *spoken.flush()]), services.vocoder.sample_rate_hz


def _record(reply: Reply) -> AnswerRecord:
    calls = tuple(
        ToolCall(str(at), call["name"], call["arguments"]) for at, call in enumerate(reply.calls)
    )
    if not reply.chunks:
        return AnswerRecord(reply.heard, reply.text, calls)
    facts = reply.facts()
    return AnswerRecord(
        reply.heard,
        reply.text,
        calls,
        reply.sound(),
        reply.rate_hz,
        facts["first_audio_ms"],
        facts["rtf"],
    )
