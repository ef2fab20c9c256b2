"""`eval`: public evaluation sets on a profile or on any server, and tables of runs."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from step_audio import __version__
from step_audio.cli.data import read_key
from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import AudioError, InputError
from step_audio.core.ports import ToolSpec
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm

if TYPE_CHECKING:
    from step_audio.eval.examinee import Examinee
    from step_audio.eval.runs import Measure, Run
    from step_audio.eval.scores.judges import JudgePanel
    from step_audio.eval.sets.items import Item, LoadedSet
    from step_audio.voices.making import SpeakerEncoderPort

_ENCODER_HZ: Final = 16_000
_TOOLS: Final = {
    "get_date_time": "Return the date and the time of day.",
    "get_weather": "Return the weather of a place.",
    "timbre": "Speak in another voice.",
    "web_search": "Search the web.",
}
"""The tools of StepEval-Audio-Toolcall; their published schemas were not seen."""


def evaluate(args: argparse.Namespace, load: Load) -> int:
    """Ask one set, judge the answers, write and print the report."""
    print(_evaluated(args, load, args.set, args.folder, args.output))
    return 0


def evaluate_all(args: argparse.Namespace, load: Load) -> int:
    """Ask every set that a folder of downloads holds, each in a folder of its own."""
    from step_audio.eval.sets.catalogue import SETS, sets_in  # noqa: PLC0415
    from step_audio.eval.sets.files import SetFiles  # noqa: PLC0415

    if not args.folder.is_dir():
        raise InputError(f"no folder {args.folder}")
    found: list[tuple[str, Path]] = []
    for folder in sorted(path for path in args.folder.iterdir() if path.is_dir()):
        with SetFiles(folder, opened=False) as files:
            names = sets_in(files)
        found += [(name, folder) for name in names]
        if not names:
            print(f"{folder.name}: no set that is known")
    if not found:
        raise InputError(f"{args.folder} holds no folder named like one of {', '.join(SETS)}")
    failed = 0
    for name, folder in found:
        try:
            print(_evaluated(args, load, name, folder, args.output / name))
        except InputError as error:
            failed += 1
            print(f"{name}: {error}")
    return 1 if failed else 0


def compare(args: argparse.Namespace, load: Load) -> int:
    """Print the table of runs; with an output folder write it, and a page, there."""
    from step_audio.eval.compare import markdown, open_runs, write_comparison  # noqa: PLC0415

    runs = open_runs(args.runs)
    print(markdown(runs))
    if args.output is not None:
        print(write_comparison(runs, args.output))
    return 0


def _evaluated(args: argparse.Namespace, load: Load, name: str, folder: Path, output: Path) -> str:
    """Run one set and return its report as Markdown."""
    from step_audio.eval.sets.catalogue import SETS, load_set  # noqa: PLC0415
    from step_audio.eval.sets.files import SetFiles  # noqa: PLC0415

    panel = _panel(args)
    with SetFiles(folder) as files:
        loaded = _chosen(load_set(name, files), args)
        examinee, encoder = _examinee(args, load, name)
        facts = {
            "set": name,
            "title": SETS[name].title,
            "examinee": examinee.name,
            "parts": sorted(args.parts or ()),
            "limit": args.limit,
            "version": __version__,
        }
        return asyncio.run(_run(args, loaded, output, facts, (examinee, encoder, panel)))


async def _run(
    args: argparse.Namespace,
    loaded: LoadedSet,
    output: Path,
    facts: dict[str, Any],
    who: tuple[Examinee, tuple[str, SpeakerEncoderPort] | None, JudgePanel | None],
) -> str:
    from step_audio.eval.page import write_page  # noqa: PLC0415
    from step_audio.eval.recognizers import open_recognizer  # noqa: PLC0415
    from step_audio.eval.report import Judged, make_report, markdown  # noqa: PLC0415
    from step_audio.eval.runs import Run  # noqa: PLC0415

    examinee, encoder, panel = who
    recognizer = open_recognizer(args.recognizer)
    run = Run(output, loaded.items, shown)
    run.begin(facts, retry_failed=args.retry_failed)
    try:
        await run.answer_all(examinee, _tools(str(facts["set"])))
    finally:
        await examinee.aclose()
    heard = None if recognizer is None else await asyncio.to_thread(run.hear_all, recognizer)
    measures = await asyncio.to_thread(_measured, args, run, examinee, encoder)
    if panel is not None:
        judge = partial(run.judge_all, panel, heard, send_audio=args.send_audio)
        await asyncio.to_thread(judge, workers=args.judge_places)
    judged = Judged(heard, recognizer.name if recognizer else "", panel, measures, args.send_audio)
    report = make_report(run, facts, loaded.broken, judged)
    print(write_page(run, report))
    return markdown(report)


def _measured(
    args: argparse.Namespace,
    run: Run,
    examinee: Examinee,
    encoder: tuple[str, SpeakerEncoderPort] | None,
) -> dict[str, dict[str, float]]:
    """Return the figures of each measure that can be made here."""
    from step_audio.eval.mos import dnsmos  # noqa: PLC0415

    found: dict[str, dict[str, float]] = {}
    if encoder is not None and examinee.clones:
        name, graph = encoder
        if any(item.task == "speak" for item in run.items):
            key = f"similarity:{name}"
            found[key] = run.measure_all(key, _similarity(graph))
    if args.mos:

        def rated(item: Item, pcm: Pcm, rate_hz: int) -> float | None:
            return dnsmos([(pcm, rate_hz)])

        found["dnsmos"] = run.measure_all("dnsmos", rated)
        if not found["dnsmos"]:
            raise InputError("--mos needs the package speechmos: pip install speechmos")
    return found


def _similarity(graph: SpeakerEncoderPort) -> Measure:
    from step_audio.eval.speaker_similarity import similarity  # noqa: PLC0415

    def measure(item: Item, pcm: Pcm, rate_hz: int) -> float | None:
        example = item.turns[0].sound
        if item.task != "speak" or example is None:
            return None
        try:
            wanted, wanted_hz = example.read()
            one = graph.embed(resample(wanted, wanted_hz, _ENCODER_HZ))
            other = graph.embed(resample(pcm, rate_hz, _ENCODER_HZ))
        except AudioError:
            return None
        return similarity(one, other)

    return measure


def _examinee(
    args: argparse.Namespace, load: Load, name: str
) -> tuple[Examinee, tuple[str, SpeakerEncoderPort] | None]:
    """Return who is asked, and what measures speakers, with its name."""
    from step_audio.eval.examinees.realtime import RealtimeExaminee  # noqa: PLC0415
    from step_audio.eval.examinees.rest import RestExaminee  # noqa: PLC0415
    from step_audio.eval.packaged_encoder import NAME as PACKAGED_NAME  # noqa: PLC0415
    from step_audio.eval.packaged_encoder import (  # noqa: PLC0415
        PackagedSpeakerEncoder,
        packaged_weights,
    )
    from step_audio.eval.speaker_similarity import GraphSpeakerEncoder  # noqa: PLC0415

    encoder: tuple[str, SpeakerEncoderPort] | None = None
    if args.speaker_encoder is not None:
        encoder = (args.speaker_encoder.stem, GraphSpeakerEncoder(args.speaker_encoder))
    elif name == "seed-tts" and (packaged := packaged_weights()) is not None:
        # Of the same file whoever is asked; a profile's own comes before it.
        encoder = (PACKAGED_NAME, PackagedSpeakerEncoder(packaged))
    key = read_key(args.key_file)
    places = args.places or 2
    if args.url is not None:
        if not args.url.startswith(("ws://", "wss://")):
            raise InputError(f"{args.url} is no websocket address; it begins with ws:// or wss://")
        return RealtimeExaminee(args.url, key, name=args.name, places=places), encoder
    if args.rest is not None:
        if not args.rest.startswith(("http://", "https://")):
            raise InputError(f"{args.rest} is no address of a server; it begins with http://")
        rest = RestExaminee(
            args.rest, key, model=args.model, voice=args.voice, name=args.name, places=places
        )
        return rest, encoder
    from step_audio.cli.profile_examinee import ProfileExaminee, fixed_seed  # noqa: PLC0415

    profile = fixed_seed(load_profile(args.profile))
    parts = load(profile)
    examinee = ProfileExaminee(parts, profile, tools=_tools(name), places=args.places)
    examinee.name = args.name or examinee.name
    asked_own = name == "seed-tts" and args.speaker_encoder is None
    own = parts.speaker_encoder() if asked_own else None
    return examinee, encoder if own is None else (f"CAM++ of {profile.model_name}", own)


def _tools(name: str) -> tuple[ToolSpec, ...]:
    if name != "stepeval-toolcall":
        return ()
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    return tuple(ToolSpec(tool, about, schema) for tool, about in _TOOLS.items())


def _chosen(loaded: LoadedSet, args: argparse.Namespace) -> LoadedSet:
    """Return the parts of a set that are asked for, as many items of each as is."""
    items = loaded.items
    if args.parts:
        known = dict.fromkeys(item.category for item in items)
        if strange := [part for part in args.parts if part not in known]:
            raise InputError(f"no part {strange[0]!r}; there are {', '.join(known) or 'none'}")
        items = [item for item in items if item.category in args.parts]
    if args.limit is not None:
        items = items[: max(1, args.limit)]
    return replace(loaded, items=items)


def _panel(args: argparse.Namespace) -> JudgePanel | None:
    from step_audio.data.llm import ChatEndpoint  # noqa: PLC0415 - an HTTP client
    from step_audio.eval.scores.judges import JudgePanel  # noqa: PLC0415

    if args.judge_url is None:
        return None
    if args.judge_model is None:
        raise InputError("--judge-url needs --judge-model: its name stands in the report")
    key = read_key(args.judge_key_file)
    endpoint = ChatEndpoint(args.judge_url, args.judge_model, key)
    return JudgePanel(endpoint, args.judge_prompts)


@contextmanager
def shown(total: int, what: str) -> Iterator[Callable[[], object]]:
    """Show a progress bar on standard error."""
    from tqdm import tqdm  # noqa: PLC0415

    with tqdm(total=total, desc=what, mininterval=1.0, disable=total == 0) as bar:
        yield bar.update
