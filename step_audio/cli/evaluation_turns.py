"""`eval turns`: full-duplex behaviour of a profile, or of any Realtime server."""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from step_audio import __version__
from step_audio.cli.data import read_key
from step_audio.cli.evaluation import shown
from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError

_START_S: Final = 600.0
"""So long the server of a profile may load."""


def turns(args: argparse.Namespace, load: Load) -> int:
    """Hold scripted dialogues in real time; write and print what they say of the server."""
    from step_audio.eval.turns.run import hold_all, markdown  # noqa: PLC0415
    from step_audio.eval.turns.scripts import read_scripts, write_scripts  # noqa: PLC0415

    if args.rest is not None:
        raise InputError("turns are taken in real time: give --url or --profile")
    if args.make:
        write_scripts(args.folder)
    scripts, broken = read_scripts(args.folder)
    for line in broken:
        print(f"left out: {line}")
    key = read_key(args.key_file)
    with _realtime_server(args) as (url, name):
        facts = {"set": "turns", "title": "Turns", "examinee": name, "version": __version__}
        report = asyncio.run(
            hold_all(
                args.output,
                scripts[: args.limit],
                url,
                facts,
                key=key,
                places=args.places or 1,
                patience_s=args.patience_s,
                progress=shown,
            )
        )
    print(markdown(report))
    return 0


@contextmanager
def _realtime_server(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Give the address and the name of the server that is asked; a profile is served meanwhile, by
    `serve` in a process of its own, so that the caller's clock does not wait for the models."""
    if args.url is not None:
        if not args.url.startswith(("ws://", "wss://")):
            raise InputError(f"{args.url} is no websocket address; it begins with ws:// or wss://")
        yield args.url, args.name or args.url
        return
    profile = load_profile(args.profile)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args.output.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "step_audio", "serve", "--profile", args.profile]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with (args.output / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_ready(server, port, args.output / "server.log")
            yield f"ws://127.0.0.1:{port}/v1/realtime", args.name or profile.model_name
        finally:
            server.terminate()
            server.wait(60)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import httpx  # noqa: PLC0415 - an HTTP client

    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and server.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise InputError(f"the server of the profile did not start; see {log}")
