"""Mutated sound files against a server. Run: python -m tests.server.sound_fuzz --files 2000

The server is a process of its own, as under `make run`. Files of every container, with 1 to 64
channels, are cut, overwritten, joined and muddled at random and sent to every route that takes
sound, while one session talks on. The last line is JSON; exit code 1 for a 5xx, a connection that
broke, an answer that the session did not get whole or without a gap, or a process that grew.

Each file has a seed of its own: `--start N --files N+1` sends file N alone; `--keep FOLDER` writes
those at which a decoder died.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import httpx

from step_audio.core.types import Pcm
from step_audio.eval.callers import Caller, CallerAnswer, CallPlan, CallReport
from step_audio.eval.load import QUESTIONS, spoken_by
from tests.bench.load import serving
from tests.bench.measure import speechlike
from tests.sound_files import KINDS, id3_tag, sound_file, tone

GROWTH_MB: Final = 30.0
"""A process may hold so much more at the end than after the first quarter."""
AT_ONCE: Final = 3
ALONE: Final = 2
"""Questions that are asked before the files come."""
SESSION: Final = 5
"""Questions of a session beside them; the next one follows at once."""
_RATES: Final = (8000, 16_000, 24_000, 44_100, 48_000, 96_000)
_CHANNELS: Final = {"mp3": (1, 2), "au": (1, 2), "caf": (1, 2), "aiff": (1, 2)}
_WILD: Final = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff")
Files = tuple[bytes, ...]


@lru_cache(maxsize=1)
def whole_files() -> Files:
    """Return what is mutated: every container, few and many channels, many rates."""
    rng = random.Random(0)
    made = []
    for kind in KINDS:
        for channels in _CHANNELS.get(kind, (1, 2, 6, 8)):
            rate_hz = 48_000 if kind in ("ogg", "webm") else rng.choice(_RATES)
            rate_hz = min(rate_hz, 48_000) if kind in ("mp3", "m4a") else rate_hz
            seconds = rng.uniform(0.2, 1.2)
            made.append(sound_file(kind, tone(seconds, rate_hz, channels), rate_hz))
    for channels in (3, 7, 9, 12, 16, 31, 32, 33, 48, 63, 64, 65):
        made.append(sound_file("wav", tone(0.3, rng.choice(_RATES), channels), 16_000))
    return tuple(made)


def mutated(rng: random.Random, files: Files) -> bytes:
    """Return a file with one to four things wrong; one in twenty is whole."""
    data = bytearray(rng.choice(files))
    for _ in range(0 if rng.random() < 0.05 else rng.randint(1, 4)):
        if data:
            rng.choice(_MUTATIONS)(rng, data, files)
    return bytes(data)


def _place(rng: random.Random, data: bytearray) -> int:
    """Return a place in a file; half of them in its head, where the lengths are."""
    return rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data))


def _cut(rng: random.Random, data: bytearray, files: Files) -> None:
    del data[_place(rng, data) :]


def _cut_front(rng: random.Random, data: bytearray, files: Files) -> None:
    del data[: _place(rng, data)]


def _overwrite(rng: random.Random, data: bytearray, files: Files) -> None:
    at = _place(rng, data)
    count = min(rng.choice((1, 2, 4, 16, 400, 4000)), len(data) - at)
    data[at : at + count] = rng.randbytes(count)


def _wild_number(rng: random.Random, data: bytearray, files: Files) -> None:
    at, wild = _place(rng, data), rng.choice(_WILD)
    data[at : at + len(wild)] = wild


def _flip_bits(rng: random.Random, data: bytearray, files: Files) -> None:
    for _ in range(rng.randint(1, 20)):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _drop(rng: random.Random, data: bytearray, files: Files) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 3, 100, 2000))]


def _repeat(rng: random.Random, data: bytearray, files: Files) -> None:
    at = _place(rng, data)
    piece = bytes(data[at : at + rng.choice((4, 100, 4000))])
    data[at:at] = piece * rng.randint(1, 8)


def _join(rng: random.Random, data: bytearray, files: Files) -> None:
    data += rng.choice(files)


def _splice(rng: random.Random, data: bytearray, files: Files) -> None:
    other = rng.choice(files)
    data[_place(rng, data) :] = other[rng.randrange(len(other)) :]


def _tag(rng: random.Random, data: bytearray, files: Files) -> None:
    data[:0] = id3_tag(rng.choice((0, 10, 5000)))


_MUTATIONS: Final[Sequence[Callable[[random.Random, bytearray, Files], None]]] = (
    *(_cut, _cut_front, _overwrite, _overwrite, _overwrite, _wild_number, _wild_number),
    *(_flip_bits, _drop, _repeat, _join, _splice, _tag),
)


@dataclass
class Seen:
    """What came back.

    Attributes:
        statuses: of answers; 0: the connection broke.
        warned: answers that say what was skipped.
        slowest_s: longest time for one file.
        died: numbers of the files at which a decoder died.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    warned: int = 0
    slowest_s: float = 0.0
    died: list[int] = field(default_factory=list)
    examples: dict[int, str] = field(default_factory=dict)


async def send_files(
    address: str, numbers: Iterator[int], seed: int, routes: Sequence[str], seen: Seen
) -> None:
    """Send files until there are no more; several of these run side by side."""
    files = whole_files()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=120) as client:
        for number in numbers:
            rng = random.Random(f"{seed}/{number}")
            data, route = mutated(rng, files), rng.choice(routes)
            begun_s = time.monotonic()
            try:
                got = await _sent(client, route, data, number)
            except httpx.HTTPError as error:
                seen.statuses[0] += 1
                seen.examples[number] = f"{route}: {error!r}"
                continue
            seen.slowest_s = max(seen.slowest_s, time.monotonic() - begun_s)
            seen.statuses[got.status_code] += 1
            seen.warned += '"warnings"' in got.text or "step-audio-warnings" in got.headers
            if got.status_code >= 500:
                seen.examples[number] = f"{route}: {got.text[:200]}"
            if "cannot be decoded" in got.text:
                seen.died.append(number)


async def _sent(client: httpx.AsyncClient, route: str, data: bytes, number: int) -> httpx.Response:
    if route == "transcriptions":
        form = {"response_format": "text" if number % 2 else "json"}
        return await client.post("/v1/audio/transcriptions", files={"file": ("a", data)}, data=form)
    if route == "voices":
        # The name is taken: what was decoded is refused before a voice is made of it.
        form = {"name": "rms", "consent": "the fuzzer", "text": "a tone"}
        return await client.post("/v1/audio/voices", files={"audio_sample": ("a", data)}, data=form)
    sound = {"data": base64.b64encode(data).decode() or "AA==", "format": "wav"}
    part = {"type": "input_audio", "input_audio": sound}
    body = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 1}
    return await client.post("/v1/chat/completions", json=body)


async def talk_on(plan: CallPlan, report: CallReport) -> None:
    """Talk, session after session: what a model remembers of one is no growth of the server."""
    for number in itertools.count():
        caller = Caller(plan, number)
        caller.report.heard, caller.report.errors = report.heard, report.errors
        await caller.call()


@dataclass(frozen=True, slots=True)
class Processes:
    """What the server's processes hold, in MB, and what it counted."""

    server_mb: float
    forking_mb: float
    measures: dict[str, float]


async def look(address: str, pid: int) -> Processes:
    """Read what the server says, and what the process that forks decoders holds (Linux)."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{address}/metrics", timeout=60)).text
    rows = [row.rsplit(" ", 1) for row in text.splitlines() if not row.startswith("#")]
    measures = {name: float(value) for name, value in rows}
    forking_mb = sum(map(_resident_mb, _children(pid)))
    return Processes(measures["process_resident_memory_bytes"] / 1e6, forking_mb, measures)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(part) for part in task.read_text(encoding="ascii").split()]
    return found


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def fuzz(
    url: str, pid: int, numbers: range, *, seed: int, routes: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return (what happened, what should not have happened)."""
    address = url.split("/")[2]
    questions: list[Pcm] = [speechlike(0.8, 24_000)]
    if "voices" in routes:  # there is a model that hears
        questions = await spoken_by(url, QUESTIONS, None)
    plan = CallPlan(url, ALONE, questions, manual=True, patience_s=120.0)
    alone = await Caller(plan, 0).call()
    talk = CallReport()
    talking = asyncio.create_task(talk_on(replace(plan, turns=SESSION), talk))
    seen, looks = Seen(), list[Processes]()
    quarter = max(1, len(numbers) // 4)
    for begin in range(numbers.start, numbers.stop, quarter):
        part = iter(range(begin, min(begin + quarter, numbers.stop)))
        await asyncio.gather(
            *(send_files(address, part, seed, routes, seen) for _ in range(AT_ONCE))
        )
        looks.append(await look(address, pid))
        done = min(begin + quarter, numbers.stop) - numbers.start
        print(f"{done} files: {dict(seen.statuses)}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + 60
    while not talk.heard and time.monotonic() < deadline:
        await asyncio.wait([talking], timeout=0.1)
    talking.cancel()
    await asyncio.wait([talking])
    answers, first, last = talk.heard, looks[0], looks[-1]
    dry_s = _dry_s(answers)
    whole = sum(answer.status == "completed" for answer in answers)
    figures: dict[str, Any] = {
        "files": len(numbers),
        "statuses": dict(sorted(seen.statuses.items())),
        "warned": seen.warned,
        "slowest_s": round(seen.slowest_s, 2),
        "decoders_died": {
            name.partition('"')[2].rstrip('"}'): value
            for name, value in last.measures.items()
            if name.startswith("step_audio_decoder_deaths_total{")
        },
        "decoder_restarts": last.measures["step_audio_decoder_restarts_total"],
        "talker_asked": len(answers),
        "talker_whole": whole,
        "talker_statuses": dict(Counter(answer.status for answer in answers)),
        "talker_sound_s": round(sum(answer.sound_s for answer in answers), 1),
        "talker_errors": talk.errors,
        "gaps_ms": [round(1000 * dry) for dry in dry_s],
        "gaps_ms_before": [round(1000 * dry) for dry in _dry_s(alone.heard)],
        "server_mb": [round(look.server_mb, 1) for look in looks],
        "decoders_mb": [round(look.forking_mb, 1) for look in looks],
        "died_at": seen.died,
        "examples": seen.examples,
    }
    # What a model holds follows what is said, files or not (nano: 6 MB an answer, for a while).
    judged_mb = 0.0 if "voices" in routes else last.server_mb - first.server_mb
    wrong = {
        "a 5xx or a broken connection": any(s == 0 or s >= 500 for s in seen.statuses),
        "deaths that were not counted": sum(figures["decoders_died"].values()) != len(seen.died),
        "an answer that was not whole": whole < len(answers) or bool(talk.errors),
        "no sound at all": not any(answer.sound_s for answer in answers),
        # A machine that is busy with other things makes gaps without any file.
        "a gap": bool(dry_s) and not _dry_s(alone.heard),
        "a process that grew": judged_mb > GROWTH_MB
        or last.forking_mb - first.forking_mb > GROWTH_MB,
    }
    return figures, [what for what, is_so in wrong.items() if is_so]


def _dry_s(answers: Sequence[CallerAnswer]) -> list[float]:
    return [dry for answer in answers for dry in answer.dry_s]


def run(
    numbers: range, seed: int, profile: str, routes: Sequence[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Serve, send, report; the usual `routes` by default."""
    # With a model most go where it has the least to do: it is the decoders that are tried.
    usual = () if profile == "scripted" else ("voices",) * 14
    routes = routes or (*usual, "transcriptions", "chat")
    with tempfile.TemporaryDirectory() as voices:
        environ = {"STEP_AUDIO__VOICE_FOLDER": voices, "STEP_AUDIO__LIMITS__MAX_SESSIONS": "8"}
        with serving(profile, environ) as (url, pid):
            return asyncio.run(fuzz(url, pid, numbers, seed=seed, routes=routes))


def main() -> None:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000, help="number of the last")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--keep", type=Path, help="folder for files at which a decoder died")
    kinds = ("transcriptions", "chat", "voices")
    parser.add_argument("--routes", nargs="+", choices=kinds, default=(), help="only these")
    args = parser.parse_args()
    figures, wrong = run(range(args.start, args.files), args.seed, args.profile, args.routes)
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        for number in figures["died_at"]:
            data = mutated(random.Random(f"{args.seed}/{number}"), whole_files())
            (args.keep / f"{args.seed}-{number}").write_bytes(data)
    print(json.dumps({"fuzz": "sound", "seed": args.seed, **figures, "wrong": wrong}))
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
