"""`replay`: a traced session again, compared event by event."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import replace

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.dialog.assistant import Assistant


def replay(args: argparse.Namespace, load: Load) -> int:
    """Print how a session went this time; 0 when every event is as in the trace, else 1."""
    from server.observability.replay import ReplayClock, read_trace  # noqa: PLC0415
    from server.observability.replay import replay as run  # noqa: PLC0415

    trace, profile = read_trace(args.trace), load_profile(args.profile)
    parts, clock, names = load(profile), ReplayClock(), profile.server.voice_names

    async def work() -> int:
        assistant = Assistant(replace(parts.services(), clock=clock), parts.settings())
        try:
            report = await run(assistant, clock, trace, voice_names=names)
        finally:
            await assistant.aclose()
        print(json.dumps({"replay": str(args.trace), **report.to_dict()}))
        return 0 if report.same == report.events else 1

    return asyncio.run(work())
