"""`examine`: the table of bars of a profile as it serves, or a probe on people's own recordings, or
what is declined of typed questions."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from step_audio.cli.data import bar
from step_audio.cli.parts import Load
from step_audio.cli.profile_examinee import fixed_seed, record_of
from step_audio.cli.speech import answer
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.ports import Services
from step_audio.core.profile import Profile, Tools
from step_audio.core.resampling import resample_input
from step_audio.core.types import Pcm, TextDelta
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Answer, Conversation, Typed
from step_audio.eval.examinee import AnswerRecord

T = TypeVar("T")


def examine(args: argparse.Namespace, load: Load) -> int:
    """Ask held-out questions, judge the answers, write and print the report."""
    if args.recordings is not None:
        return _probe(args, load)
    if args.roles:
        return _roles(args, load)
    if args.manners:
        return _manners(args, load)
    if args.typed:
        return _typed(args, load)
    from step_audio.nano.exam import gate  # noqa: PLC0415 - serving lacks what training has
    from step_audio.nano.exam.examination import run  # noqa: PLC0415
    from step_audio.nano.exam.questions import QUESTIONS  # noqa: PLC0415

    profile = _examined(load_profile(args.profile))
    parts = load(profile)
    with asyncio.Runner() as runner:
        assistant = Assistant(parts.services(), parts.settings())

        def answerer(pcm: Pcm, rate_hz: int) -> AnswerRecord:
            return record_of(runner.run(answer(assistant, pcm, rate_hz)))

        def resynthesiser(pcm: Pcm, rate_hz: int) -> tuple[Pcm, int]:
            return resynthesise(assistant.services, pcm, rate_hz)

        def reader(text: str) -> tuple[Pcm, int]:
            return runner.run(_read(assistant, text))

        if args.gate is not None:
            scores = gate.measure(answerer)
        else:
            report = run(
                answerer,
                resynthesiser,
                args.output,
                args.questions or QUESTIONS,
                reader=reader,
                weights_dir=profile.weights,
                memory_mb=lambda sounds: serving_memory_mb(profile, sounds),
            )
        runner.run(assistant.aclose())
    if args.gate is not None:
        return _gated(scores, args.gate)
    print(report.to_markdown())
    print(report.to_json())
    return 0


def _roles(args: argparse.Namespace, load: Load) -> int:
    """Ask in the roles that nano knows by heart; write and print how many answers are in them."""
    from step_audio.nano.exam import roles  # noqa: PLC0415 - as above

    parts = load(_examined(load_profile(args.profile)))
    with asyncio.Runner() as runner:
        assistant = Assistant(parts.services(), parts.settings())

        def answerer(role: str, pcm: Pcm, rate_hz: int) -> AnswerRecord:
            played = assistant.role(role)
            return record_of(runner.run(answer(assistant, pcm, rate_hz, role=played, aloud=False)))

        asked = roles.role_questions(args.questions or roles.QUESTIONS)
        answers = _kept(
            args.output / "roles.jsonl", roles.examine_roles(answerer, asked), roles.role_row
        )
        runner.run(assistant.aclose())
    table = roles.role_table(answers)
    (args.output / "roles.md").write_text(table, encoding="utf-8")
    print(table)
    return 0


def _manners(args: argparse.Namespace, load: Load) -> int:
    """Ask to speak in manners; write and print how often it is done and undone."""
    from step_audio.nano.exam import manners  # noqa: PLC0415 - as above

    parts = load(_examined(load_profile(args.profile)))
    with asyncio.Runner() as runner:
        assistant = Assistant(parts.services(), parts.settings())

        def open_conversation() -> manners.Conversing:
            conversation = Conversation()

            def say(pcm: Pcm, rate_hz: int) -> str:
                runner.run(answer(assistant, pcm, rate_hz, conversation=conversation, aloud=False))
                said = [item for item in conversation if isinstance(item, Answer)]
                return said[-1].as_written if said else ""

            return say

        dialogues = manners.manner_dialogues(args.questions or manners.DIALOGUES)
        held = manners.examine_manners(open_conversation, dialogues)
        found = _kept(args.output / "manners.jsonl", held, manners.manner_row)
        runner.run(assistant.aclose())
    table = manners.manner_table(found)
    (args.output / "manners.md").write_text(table, encoding="utf-8")
    print(table)
    return 0


def _kept(path: Path, answers: Iterable[T], row: Callable[[T], dict[str, Any]]) -> list[T]:
    """Return all answers; each is written as a line of JSON when it comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = []
    with path.open("w", encoding="utf-8") as kept:
        for given in answers:
            found.append(given)
            print(json.dumps(row(given)), file=kept, flush=True)
    return found


def _examined(profile: Profile) -> Profile:
    """Return the profile with the tools that right answers are known for, and a seed: a report
    says the same when it is made again."""
    from step_audio.nano.exam.questions import TOOL_SEED  # noqa: PLC0415 - as above

    tools = Tools(kind="fake", seed=TOOL_SEED)
    return fixed_seed(profile).model_copy(update={"tools": tools})


def _gated(scores: Mapping[str, Any], wanted: str) -> int:
    """Print the scores; hold them to the kept figures, or keep them as such."""
    from step_audio.nano.exam import gate  # noqa: PLC0415 - as above

    print(gate.table(scores))
    if wanted == "keep":
        gate.keep(scores)
        return 0
    lost = gate.losses(scores)
    for line in lost:
        print(f"lost: {line}")
    return 1 if lost else 0


async def _read(assistant: Assistant, text: str) -> tuple[Pcm, int]:
    """Return a text read aloud in the default voice; no sound where the model found none."""
    voice = assistant.services.default_voice
    chunks = [chunk async for chunk in assistant.say(text, voice)]
    if not chunks:
        return np.zeros(0, dtype=np.float32), assistant.services.vocoder.sample_rate_hz
    return np.concatenate([chunk.pcm for chunk in chunks]), chunks[0].rate_hz


def serving_memory_mb(profile: Profile, sounds: Sequence[Pcm]) -> float:
    """Return the peak memory of a process of its own that answers sounds (T,) at 16 kHz.

    The examination's own process also holds the questions and what they are checked against.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_memory_mb, profile, list(sounds)).result()


def _peak_memory_mb(profile: Profile, sounds: Sequence[Pcm]) -> float:
    from step_audio.runtime import Runtime  # noqa: PLC0415 - in the new process alone

    parts = Runtime(profile)
    with asyncio.Runner() as runner:
        assistant = Assistant(parts.services(), parts.settings())
        for pcm in sounds:
            runner.run(answer(assistant, pcm, 16_000))
        runner.run(assistant.aclose())
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands the peak of the process that started this one on in getrusage.
        kept = [row for row in status.read_text().splitlines() if row.startswith("VmHWM:")]
        return int(kept[0].split()[1]) / 1024
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return peak / 2**20


def _probe(args: argparse.Namespace, load: Load) -> int:
    """Ask a folder of people's own recordings; write and print what was heard."""
    from step_audio.nano.exam.recordings import find, probe, write  # noqa: PLC0415 - one use

    find(args.recordings)  # before anything is loaded
    hear = None
    if find_spec("pocketsphinx") is not None:
        from step_audio.nano.exam.judge import open_judge  # noqa: PLC0415 - optional

        hear = open_judge().hear
    profile = load_profile(args.profile)
    parts = load(profile)
    with asyncio.Runner() as runner:
        assistant = Assistant(parts.services(), parts.settings())

        def answerer(pcm: Pcm, rate_hz: int) -> AnswerRecord:
            return record_of(runner.run(answer(assistant, pcm, rate_hz)))

        args.output.mkdir(parents=True, exist_ok=True)
        rows = probe(
            args.recordings,
            answerer,
            hear,
            max_seconds=profile.limits.max_question_s,
            progress=lambda found: bar(found, len(found), "recordings"),
            store=args.output / "rows.jsonl",
            model=assistant.services.model_name,
        )
        runner.run(assistant.aclose())
    print(write(rows, args.output))
    return 0


def _typed(args: argparse.Namespace, load: Load) -> int:
    """Ask typed questions within and outside the model's world; write and print the scores."""
    from step_audio.nano.exam import typed  # noqa: PLC0415 - serving lacks what training has

    parts = load(_examined(load_profile(args.profile)))
    with asyncio.Runner() as runner:
        assistant = Assistant(parts.services(), parts.settings())
        rows = typed.examine_typed(lambda question: runner.run(_written(assistant, question)))
        runner.run(assistant.aclose())
    typed.write(rows, args.output)
    print(typed.table(typed.report(rows)))
    return 0


async def _written(assistant: Assistant, question: str) -> str:
    """Return the text of the answer to a typed question."""
    conversation = Conversation()
    conversation.add(Typed("question", "human", question))
    events = assistant.answer(conversation, aloud=False)
    return "".join([event.text async for event in events if isinstance(event, TextDelta)]).strip()


def resynthesise(services: Services, pcm: Pcm, rate_hz: int) -> tuple[Pcm, int]:
    """Return speech (T,) after tokenizer and vocoder, in the default voice, and its rate."""
    audio_tokenizer = services.audio_tokenizer
    if audio_tokenizer is None:
        raise InputError("this profile has no audio tokenizer; take one whose own model hears")
    heard = audio_tokenizer.open()
    sound = resample_input(pcm, rate_hz, audio_tokenizer.sample_rate_hz)
    groups = [*heard.push(sound), *heard.flush()]
    spoken = services.vocoder.open(services.voices.get(services.default_voice))
    chunks = [chunk for group in groups for chunk in spoken.push(group)]
    return np.concatenate([*chunks, *spoken.flush()]), services.vocoder.sample_rate_hz
