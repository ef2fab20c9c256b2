"""First sound and gaps under load. Run: python -m tests.bench.load

The server is a process of its own.

    --profile scripted   what is not a model, at 50 callers who push to talk: `overhead`
    --profile nano       1, 2 and 3 callers, with early answers and without: `callers`; once each
                         in its own time, once all in the same instant (`together`)

`after_decision_ms`: from the end of the turn, as the server or the button decided it, to the
first sound at the caller. `first_audio_ms`: from the end of speech, silence window excluded.
`caller_lag_ms`: how late the callers' own process is; it is part of every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product

import httpx
import numpy as np

from server.serving import calm
from step_audio.core.config import load_profile
from step_audio.core.profile import ScriptedEngineSection
from step_audio.core.types import Pcm
from step_audio.eval.callers import RATE_HZ, CallPlan
from step_audio.eval.load import QUESTIONS, LoadReport, run, spoken_by, spread_ms
from step_audio.scripted import Script
from tests.bench.measure import speechlike

START_S = 60.0
TURN_S = 6.0
"""About a turn of `overhead`: people do not ask in step, fifty questions in one second."""


@contextmanager
def serving(profile: str, environ: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Run `step-audio serve` on a free port; yield the endpoint's address and the process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "step_audio", "serve", "--profile", profile]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_S
        while not _ready(f"http://127.0.0.1:{port}/readyz"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"`step-audio serve --profile {profile}` did not start")
            time.sleep(0.1)
        yield f"ws://127.0.0.1:{port}/v1/realtime", process.pid
    finally:
        process.terminate()
        process.wait(30)


def _ready(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def report(
    name: str,
    profile: str,
    sessions: int,
    plan: CallPlan,
    *,
    stagger_s: float = 1.0,
    together: bool = False,
    **facts: object,
) -> LoadReport:
    """Run one load and print it."""
    made = asyncio.run(run(plan, sessions, stagger_s, together=together))
    facts["together"] = together
    shown = {"bench": f"load.{name}", "profile": profile, **facts, **made.to_dict()}
    print(json.dumps(shown), flush=True)
    return made


def overhead(profile: str, sessions: int, turns: int) -> None:
    """Measure what is not a model: the first sound, less the time of the engine's pace alone."""
    question: Pcm = speechlike(1.5, RATE_HZ)
    environ = {"STEP_AUDIO__ENGINE__TOKENS_PER_S": "200"}
    engine = load_profile(profile, environ).engine
    assert isinstance(engine, ScriptedEngineSection)
    model_s = Script(engine).first_sound_s
    with serving(profile, environ) as (url, _):
        asyncio.run(run(CallPlan(url, 1, [question], manual=True), min(4, sessions)))
        calm()  # the callers' pauses would count as the server's
        plan = CallPlan(url, turns, [question], manual=True, pause_s=2.0)
        made = report(
            "scripted",
            profile,
            sessions,
            plan,
            stagger_s=TURN_S,
            model_ms=round(model_s * 1000, 1),
        )
    first_s = [one.first_audio_s for call in made.calls for one in call.heard]
    figures = spread_ms([s - model_s for s in first_s if s is not None])
    lag = spread_ms(made.lags_s)
    line = {"sessions": sessions, "turns": len(first_s), **(figures or {}), "caller_lag_ms": lag}
    print(json.dumps({"bench": "load.overhead_ms", **line}))


def callers(profile: str, most: int, turns: int) -> None:
    """Measure a profile as people meet it."""
    for speculate in ("true", "false"):
        with serving(profile, {"STEP_AUDIO__TURNS__SPECULATE": speculate}) as (url, _):
            questions = asyncio.run(spoken_by(url, QUESTIONS, None))
            if not any(np.any(pcm) for pcm in questions):
                raise SystemExit("the server speaks no questions: nothing to ask")
            asyncio.run(run(CallPlan(url, 1, questions), 1))
            for together, sessions in product((False, True), range(1, most + 1)):
                if together and sessions == 1:
                    continue
                plan = CallPlan(url, turns, questions)
                early = speculate == "true"
                report("callers", profile, sessions, plan, together=together, speculate=early)


def main() -> None:
    """Choose the measurement by the profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="scripted")
    parser.add_argument("--sessions", type=int, help="at most (50 scripted, else the profile's)")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    if args.profile == "scripted":
        overhead(args.profile, args.sessions or 50, args.turns)
    else:
        allowed = load_profile(args.profile).limits.max_sessions
        callers(args.profile, args.sessions or allowed, args.turns)


if __name__ == "__main__":
    main()
