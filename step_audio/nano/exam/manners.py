"""The examination of spoken instructions: "speak faster", a question, "speak normally", a question.

An instruction is followed when the answer to the question behind it begins with the style tags that
ask for it, and undone when the answer behind "speak normally" has none. What the voice makes of a
tag is measured in its sound by `tests.bench.manners`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol

from step_audio.core.types import Pcm
from step_audio.data.speakers import HELD_NATURAL
from step_audio.eval.intervals import share_interval
from step_audio.nano.domain import QaSample, delivery_after, generate_intent
from step_audio.nano.domain.delivery import Delivery
from step_audio.nano.domain.draw import Draw
from step_audio.nano.domain.followup import PLAIN
from step_audio.nano.exam.questions import SEED, TOOL_SEED, ExamQuestion, speak

DIALOGUES: Final = 60


@dataclass(frozen=True, slots=True)
class MannerDialogue:
    """Four things that are said: an instruction, a question, "speak normally", a question."""

    turns: tuple[ExamQuestion, ExamQuestion, ExamQuestion, ExamQuestion]

    @property
    def tags(self) -> str:
        """What the answer to the first question is to begin with."""
        return delivery_after(Delivery(), self.turns[0].sample).tags


class Conversing(Protocol):
    """One conversation: takes what is said, (T,) at a rate; returns the answer with its tags."""

    def __call__(self, pcm: Pcm, rate_hz: int, /) -> str: ...


@dataclass(frozen=True, slots=True)
class MannerAnswer:
    """A dialogue and what was answered, with tags."""

    dialogue: MannerDialogue
    answers: tuple[str, ...]

    @property
    def acknowledged(self) -> bool:
        """Whether the answer to the instruction is the right one."""
        return self.dialogue.turns[0].sample.answer in self.answers[0]

    @property
    def followed(self) -> bool:
        """Whether the answer behind the instruction is in the manner."""
        return _tags(self.answers[1]) == self.dialogue.tags

    @property
    def undone(self) -> bool:
        """Whether the last answer is plain again."""
        return not _tags(self.answers[3])


def manner_dialogues(count: int = DIALOGUES) -> list[MannerDialogue]:
    """Return dialogues in held-out phrasings by held-out natural voices, the manners in turn."""
    rng = random.Random(SEED + 13)
    draw = Draw(rng, "held", TOOL_SEED)
    made: list[MannerDialogue] = []
    while len(made) < count:
        said = (
            _style(rng, lambda s: bool(delivery_after(Delivery(), s).tags)),
            rng.choice(PLAIN)(draw),
            _style(rng, lambda s: s.slots == ("normal",)),
            rng.choice(PLAIN)(draw),
        )
        speaker = HELD_NATURAL[len(made) % len(HELD_NATURAL)]
        one, two, three, four = (ExamQuestion(sample, speaker) for sample in said)
        made.append(MannerDialogue((one, two, three, four)))
    return made


def examine_manners(
    open_conversation: Callable[[], Conversing],
    dialogues: Sequence[MannerDialogue],
    *,
    sounds: Sequence[Pcm] | None = None,
) -> Iterator[MannerAnswer]:
    """Hold each dialogue in a conversation of its own; yield its answers as they come.

    Args:
        open_conversation: begins a conversation with the system.
        dialogues: what is said.
        sounds: of all turns one behind the other, (T,) at 16 kHz; spoken here by default.

    Raises: VoicesMissing, EngineMissing: what only training needs is missing.
    """
    turns = list(chain.from_iterable(d.turns for d in dialogues))
    spoken = iter(speak(turns) if sounds is None else sounds)
    for dialogue in dialogues:
        say = open_conversation()
        yield MannerAnswer(dialogue, tuple(say(next(spoken), 16_000) for _ in dialogue.turns))


def manner_table(answers: Sequence[MannerAnswer]) -> str:
    """Return the shares as a Markdown table, then those that were not followed by manner."""
    lines = ["| of the instructions | n | share | 95 % |", "|---|---|---|---|"]
    for name, hits in (
        ("acknowledged", [a.acknowledged for a in answers]),
        ("followed", [a.followed for a in answers]),
        ('undone by "speak normally"', [a.undone for a in answers]),
    ):
        low, high = share_interval(sum(hits), len(hits))
        share = sum(hits) / max(1, len(hits))
        lines.append(
            f"| {name} | {sum(hits)} of {len(hits)} | {share:.2f} | {low:.2f} to {high:.2f} |"
        )
    for tags in sorted({a.dialogue.tags for a in answers}):
        of = [a for a in answers if a.dialogue.tags == tags]
        lines.append(f"| {tags} followed | {sum(a.followed for a in of)} of {len(of)} | | |")
    return "\n".join(lines) + "\n"


def manner_row(answer: MannerAnswer) -> dict[str, Any]:
    """Return a dialogue as it is kept."""
    return {
        "speaker": answer.dialogue.turns[0].speaker,
        "said": [turn.sample.question for turn in answer.dialogue.turns],
        "tags": answer.dialogue.tags,
        "answers": list(answer.answers),
        "followed": answer.followed,
        "undone": answer.undone,
    }


def _style(rng: random.Random, wanted: Callable[[QaSample], bool]) -> QaSample:
    while not wanted(sample := generate_intent(rng, "style", "held")):
        pass
    return sample


def _tags(answer: str) -> str:
    """Return the style tags at the beginning of an answer."""
    tags: list[str] = []
    rest = answer.strip()
    while rest.startswith("(") and ")" in rest:
        tag, rest = rest.split(")", 1)
        tags.append(f"{tag})")
        rest = rest.strip()
    return " ".join(tags)
