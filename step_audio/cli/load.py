"""`load`: simulated callers on a running server, their experience as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path

from step_audio.cli.parts import Load
from step_audio.cli.sound_files import read
from step_audio.core.containers import SOUND_ENDINGS
from step_audio.core.errors import InputError
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm

MAX_QUESTION_S = 60.0


def load(args: argparse.Namespace, parts: Load) -> int:
    """Talk to a server with many callers at once and print what they met."""
    from step_audio.eval import load as generator  # noqa: PLC0415 - httpx and websockets
    from step_audio.eval.callers import RATE_HZ, trimmed  # noqa: PLC0415

    if not args.url.startswith(("ws://", "wss://")):
        raise InputError(f"{args.url} is no websocket address; it begins with ws:// or wss://")
    key = args.key_file.read_text().strip() if args.key_file else None

    async def work() -> dict[str, object]:
        questions: list[Pcm] = []
        for path in _files(args.questions):
            pcm, rate_hz = read(path, MAX_QUESTION_S)
            questions.append(trimmed(resample(pcm, rate_hz, RATE_HZ)))
        if not questions:
            questions = await generator.spoken_by(args.url, generator.QUESTIONS, key)
        if not questions:
            raise InputError("the questions are silent")
        plan = generator.CallPlan(
            args.url, args.turns, questions, key, args.push_to_talk, args.patience_s
        )
        met = await generator.run(plan, args.sessions, together=args.together)
        return met.to_dict()

    print(json.dumps({"load": args.url, **asyncio.run(work())}))
    return 0


def _files(given: list[Path]) -> list[Path]:
    """Return sound files: those given, and those in folders given."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in SOUND_ENDINGS)
        elif os.access(path, os.R_OK):
            found.append(path)
        else:
            raise InputError(f"cannot read {path}")
    return found
