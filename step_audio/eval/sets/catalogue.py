"""The table of sets: names, where they are published, what is read of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from step_audio.core.errors import InputError
from step_audio.eval.sets import dialogues, recognition, spoken_questions
from step_audio.eval.sets.files import SetFiles
from step_audio.eval.sets.items import Item, LoadedSet


@dataclass(frozen=True, slots=True)
class SetSpec:
    """One public set.

    Attributes:
        name: on the command line.
        title: in reports.
        source: where it is published.
        load: files to items. Raises InputError: not this set's layout.
        signs: ends of paths by which the set is known in a folder of that or another name.
        columns: names that are known for each column, the first that is there is taken.
        unsure: which of them nobody here has seen in the set.
    """

    name: str
    title: str
    source: str
    load: Callable[[SetFiles], LoadedSet]
    signs: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unsure: str = ""


def _questions(name: str, title: str, source: str) -> SetSpec:
    known = spoken_questions.QUESTIONS[name]
    columns = {"question": known.question, "answer": known.answer, "audio": spoken_questions.AUDIO}
    load = partial(spoken_questions.questions, name=name)
    signs = (f"{known.folder}/{known.folder}.csv",)
    unsure = "the form of lists of answers" if len(known.answer) > 1 else ""
    return SetSpec(name, title, source, load, signs, columns, unsure)


_BENCH: Final = "hub: baichuan-inc/OpenAudioBench"
SETS: Final[dict[str, SetSpec]] = {
    spec.name: spec
    for spec in (
        SetSpec(
            "stepeval-360",
            "StepEval-Audio-360",
            "hub: stepfun-ai/StepEval-Audio-360",
            dialogues.stepeval_360,
            ("audios.tar.gz",),
            dialogues.NAMES,
            "all, and the layout in the archive",
        ),
        SetSpec(
            "stepeval-paralinguistic",
            "StepEval-Audio-Paralinguistic",
            "hub: stepfun-ai/StepEval-Audio-Paralinguistic",
            dialogues.paralinguistic,
            columns=dialogues.PARALINGUISTIC,
            unsure="all but audio, task_name, task_answer, which a copy of it has",
        ),
        SetSpec(
            "stepeval-toolcall",
            "StepEval-Audio-Toolcall",
            "hub: stepfun-ai/StepEval-Audio-Toolcall",
            dialogues.toolcall,
            ("get_weather_positive.jsonl",),
            {
                **{k: dialogues.NAMES[k] for k in ("turns", "role", "text", "audio")},
                **dialogues.CALL,
            },
            "all, and the tools' schemas",
        ),
        _questions(
            "llama-questions", "LLaMA Questions", f"hub: fixie-ai/llama-questions; {_BENCH}"
        ),
        _questions("web-questions", "Web Questions", _BENCH),
        _questions("trivia-qa", "TriviaQA", _BENCH),
        _questions("reasoning-qa", "Reasoning QA", _BENCH),
        _questions("alpaca-eval", "AlpacaEval", _BENCH),
        SetSpec(
            "voicebench",
            "VoiceBench",
            "hub: hlt-lab/voicebench",
            spoken_questions.voicebench,
            columns=spoken_questions.VOICEBENCH_COLUMNS,
            unsure="that a configuration is a folder, and a split the beginning of a file's name",
        ),
        SetSpec(
            "uro-bench",
            "URO-Bench",
            "hub: Honggao/URO-Bench",
            spoken_questions.uro_bench,
            ("URO-Bench-data.zip", "URO-Bench-mini.zip"),
            spoken_questions.URO_BENCH,
            "that a set with target_text is judged Yes or No, one without it 1 to 5",
        ),
        SetSpec(
            "big-bench-audio",
            "Big Bench Audio",
            "hub: ArtificialAnalysis/big_bench_audio",
            spoken_questions.big_bench_audio,
            ("data/question_0.mp3",),
            spoken_questions.BIG_BENCH,
            "all but audio",
        ),
        SetSpec(
            "librispeech",
            "LibriSpeech",
            "openslr 12",
            recognition.librispeech,
            (".trans.txt", "test-clean.tar.gz", "test-other.tar.gz"),
        ),
        SetSpec(
            "aishell-1",
            "AISHELL-1",
            "openslr 33",
            recognition.aishell_1,
            ("aishell_transcript_v0.8.txt", "data_aishell.tgz"),
        ),
        SetSpec("aishell-2", "AISHELL-2", "aishelltech.com", recognition.aishell_2, ("/wav.scp",)),
        SetSpec(
            "wenetspeech",
            "WenetSpeech",
            "hub: wenet-e2e/wenetspeech",
            recognition.wenetspeech,
            columns=recognition.WENETSPEECH,
        ),
        SetSpec(
            "seed-tts",
            "SEED-TTS",
            "BytedanceSpeech/seed-tts-eval",
            recognition.seed_tts,
            ("en/meta.lst", "zh/meta.lst"),
        ),
    )
}


def load_set(name: str, files: SetFiles) -> LoadedSet:
    """Return the items of a set, their ids unique.

    Raises:
        InputError: no such set, not its layout, or no usable row.
    """
    if name not in SETS:
        raise InputError(f"no set {name!r}; there are {', '.join([*SETS, 'turns'])}")
    loaded = SETS[name].load(files)
    if not loaded.items:
        first = f"; the first: {loaded.broken[0]}" if loaded.broken else ""
        raise InputError(f"{files.folder} holds no usable row of {name}{first}")
    seen: dict[str, int] = {}
    unique: list[Item] = []
    for item in loaded.items:
        count = seen[item.id] = seen.get(item.id, 0) + 1
        unique.append(item if count == 1 else replace(item, id=f"{item.id}#{count}"))
    loaded.items = unique
    return loaded


def sets_in(files: SetFiles) -> list[str]:
    """Return the sets that a folder of downloads holds, told by its name or by their files."""
    folder = _plain(files.folder.name)
    named = [name for name, spec in SETS.items() if folder in (_plain(name), _plain(spec.title))]
    names = [f"/{path.lstrip('/')}" for path in [*files.names(""), *files.archives]]
    signed = [
        name
        for name, spec in SETS.items()
        if any(path.endswith(sign) for sign in spec.signs for path in names)
    ]
    return named or signed


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
