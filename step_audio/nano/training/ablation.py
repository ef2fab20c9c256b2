"""What each part of the recipe is worth, on nano: one row a variant, each from a command.

Every row trains for the same number of steps from the same start and is measured on questions of
the first shard, which no row learns from; it stays the same while more shards are made. A row that
needs another one trains that first; all resume.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch

from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.core.vocab import Vocab
from step_audio.data.shards import ShardWriter, TokenSample, TokenShards
from step_audio.data.spoken import SpokenItem
from step_audio.dialog.prompting.prompt import Audio, Heard, PromptBuilder, Spoken, Text, Turn
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.engine.text import BpeTextTokenizer
from step_audio.nano.training.lm_data import extend_composer
from step_audio.nano.training.lm_samples import SampleComposer, TaskWeights
from step_audio.train.checkpoints import Checkpoint
from step_audio.train.dpo import Dpo
from step_audio.train.finetune import Recipe, finetune
from step_audio.train.merge import Parent, merge
from step_audio.train.sft import Sft
from step_audio.train.workers import TrainingProcesses

Kind = Literal["base", "sft", "dpo", "merge"]
CLEAN: Final = ("flite-", "festival-")
"""Speakers of recorded people: the better half, for stage 2."""

HELD_QUESTIONS: Final = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One variant.

    Attributes:
        kind: what is done.
        after: rows it starts from; the first is trained on, all are parents of a merge.
        salad: whether random words are among what is heard and read.
        rhythm: text ids and groups of spoken answers.
        clean: learn from recorded people alone (stage 2).
        mask_audio: of DPO.
        weights: of the parents of a merge.
    """

    kind: Kind
    after: tuple[str, ...] = ("base",)
    salad: bool = True
    rhythm: tuple[int, int] = (10, 3)
    clean: bool = False
    mask_audio: bool = True
    weights: tuple[float, ...] = ()


ROWS: Final[Mapping[str, Row]] = {
    "base": Row("base", ()),
    "sft1": Row("sft"),
    "sft1-no-salad": Row("sft", salad=False),
    "sft1-5:15": Row("sft", rhythm=(5, 3)),
    "sft1-10:30": Row("sft", rhythm=(10, 6)),
    "sft1-20:15": Row("sft", rhythm=(20, 3)),
    "sft2": Row("sft", ("sft1",), clean=True),
    "dpo": Row("dpo", ("sft2",)),
    "dpo-unmasked": Row("dpo", ("sft2",), mask_audio=False),
    "merge-1:1:1": Row("merge", ("sft1", "sft2", "dpo"), weights=(1, 1, 1)),
    "merge-5:5:1": Row("merge", ("sft1", "sft2", "dpo"), weights=(5, 5, 1)),
}


@dataclass(frozen=True, slots=True)
class AblationQuestion:
    """A held-out spoken question: what is asked, as ids, and the right answer's ids."""

    prompt: tuple[int, ...]
    right: tuple[int, ...]


Measure = Callable[[Path, PromptBuilder, Vocab, Sequence[AblationQuestion]], dict[str, float]]
"""Figures of a checkpoint on held-out questions."""


class Ablation:
    """The rows over one data folder.

    Args:
        data: written by `step_audio.nano.training.lm_data`; its first shard is held out.
        start: checkpoint that every row starts from.
        out: a folder for each row.
        recipe: of every training; DPO takes a tenth of its learning rate.
        sequences: of each pack.
    """

    def __init__(
        self, data: Path, start: Path, out: Path, recipe: Recipe, sequences: int = 4000
    ) -> None:
        self._data, self._start, self._out = data, start, out
        self._recipe, self._sequences = recipe, sequences
        self._vocab = Vocab(**read_object(data / "vocab.json"))
        self._text_tokenizer = BpeTextTokenizer(data / "tokenizer.json")

    def run(self, name: str, measure: Measure) -> dict[str, float]:
        """Train and measure a row unless it is done; return its figures.

        Raises:
            InputError: no such row, or not enough data.
        """
        if name not in ROWS:
            raise InputError(f"no row {name!r}; there are {', '.join(ROWS)}")
        result = self._out / name / "figures.json"
        if result.is_file():
            return {key: float(value) for key, value in read_object(result).items()}
        checkpoint = self._checkpoint(name)
        builder = self._builder(ROWS[name])
        figures = measure(checkpoint, builder, self._vocab, self._questions(builder))
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps(figures, indent=1) + "\n")
        return figures

    def _checkpoint(self, name: str) -> Path:
        row, out = ROWS[name], self._out / name
        if row.kind == "base":
            return self._start
        parents = [self._checkpoint(parent) for parent in row.after]
        done = out / "export"
        if (done / "training.json").is_file():
            return done
        if row.kind == "merge":
            weighed = zip(parents, row.weights, strict=True)
            merge([Parent(folder, weight) for folder, weight in weighed], done)
            return done
        pack, recipe = out / "pack", self._recipe
        if not (pack / "pack.json").is_file():
            self._write(pack, row)
        shards = TokenShards(pack)
        objective: Sft | Dpo
        if row.kind == "dpo":
            recipe = replace(recipe, learning_rate=recipe.learning_rate / 10)
            objective = Dpo(shards, recipe.max_length, mask_audio=row.mask_audio)
        else:
            objective = Sft(shards, recipe.max_length, text_weight=3.0)
        alone = TrainingProcesses(torch.device("cpu"))
        source = Checkpoint(parents[0])
        finetune(objective, shards, source, out, recipe, workers=alone, facts={"row": name})
        return done

    def _builder(self, row: Row) -> PromptBuilder:
        text_run, group_run = row.rhythm
        return PromptBuilder(
            self._text_tokenizer, self._vocab, text_run=text_run, group_run=group_run
        )

    def _write(self, pack: Path, row: Row) -> None:
        composer = self._composer(row)
        if row.kind == "dpo":
            writer = ShardWriter(pack, self._vocab, kind="pairs")
            for good, bad in self._pairs(composer):
                writer.add(good)
                writer.add(bad)
        else:
            writer = ShardWriter(pack, self._vocab)
            for _ in range(self._sequences):
                made = composer.draw()
                writer.add(TokenSample(made.ids, made.mask, made.task))
        writer.close(row=row.kind)

    def _composer(self, row: Row) -> SampleComposer:
        """Return what draws samples from all shards but the first."""
        composer = SampleComposer(self._builder(row), random.Random(1), TaskWeights())
        extend_composer(composer, self._data)
        held = self._held()
        kept = [(item, qa) for item, qa in composer.questions if item.text not in held]
        if row.clean:
            kept = [(item, qa) for item, qa in kept if item.speaker.startswith(CLEAN)]
        asked = {item.text for item, _ in kept}
        answers = {qa.answer for _, qa in kept}
        composer.questions = kept
        salad = row.salad and not row.clean
        composer.hearing = [
            item
            for item in composer.hearing
            if item.text not in held and (salad or item.text in asked)
        ]
        composer.speaking = [i for i in composer.speaking if salad or i.text in answers]
        if not (composer.questions and composer.hearing and composer.speaking):
            raise InputError(f"{self._data} has too few shards; make two or more")
        return composer

    def _held(self) -> set[str]:
        found = sorted(self._data.glob("hearing-*.qa.json"))
        if not found:
            raise InputError(
                f"{self._data} holds no shard; make some with step_audio.nano.training.lm_data"
            )
        rows = json.loads(found[0].read_text(encoding="utf-8"))
        return {row["question"] for row in rows if row is not None}

    def _pairs(self, composer: SampleComposer) -> list[tuple[TokenSample, TokenSample]]:
        """Return the right answer to a question against the answer to another one."""
        rng = random.Random(2)
        answered = [(i, qa) for i, qa in composer.questions if qa.answer in composer.answers]
        pairs = []
        for _ in range(self._sequences // 8):
            (item, right), (_, wrong) = rng.sample(answered, 2)
            if right.call is not None or right.answer == wrong.answer:
                continue
            made = []
            for qa in (right, wrong):
                groups = composer.answers[qa.answer][0].groups
                turns = (*_asked(item), _answer(item, qa.answer, groups))
                ids, mask = composer.builder.training_sequence(turns, context=2)
                made.append(TokenSample(ids, mask, "pair"))
            pairs.append((made[0], made[1]))
        return pairs

    def _questions(self, builder: PromptBuilder) -> list[AblationQuestion]:
        """Return held-out questions whose answers need no tool and have a sound."""
        composer = SampleComposer(builder, random.Random(3))
        extend_composer(composer, self._data)
        held, found = self._held(), []
        for item, qa in composer.questions:
            plain = qa.call is None and not qa.history and qa.answer in composer.answers
            if item.text not in held or not plain:
                continue
            answer = _answer(item, qa.answer, composer.answers[qa.answer][0].groups)
            prompt = builder.chat(_asked(item))
            right = [*builder.content(answer.parts), self._vocab.eot]
            found.append(AblationQuestion(tuple(prompt), tuple(right)))
        random.Random(4).shuffle(found)
        return found[:HELD_QUESTIONS]


def _asked(item: SpokenItem) -> tuple[Turn, Turn]:
    return Turn("system", (Text(load_prompt("answer")),)), Turn("human", (Audio(item.groups),))


def _answer(item: SpokenItem, text: str, groups: Any) -> Turn:
    return Turn("assistant", (Heard(item.text), Spoken(text, groups)))


def table(out: Path, note: str = "") -> str:
    """Return the finished rows as Markdown, and write it to `out`/table.md.

    Raises:
        InputError: no row is finished.
    """
    rows = {name: out / name / "figures.json" for name in ROWS}
    figures = {name: read_object(path) for name, path in rows.items() if path.is_file()}
    if not figures:
        raise InputError(f"{out} holds no finished row; run one of {', '.join(ROWS)}")
    columns = list(next(iter(figures.values())))
    lines = [f"| row | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, values in figures.items():
        cells = [f"{values[column]:.3g}" if column in values else "-" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    page = "\n".join([*lines, "", note]).rstrip() + "\n"
    (out / "table.md").write_text(page, encoding="utf-8")
    return page
