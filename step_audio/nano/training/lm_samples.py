"""LM samples, composed while training from spoken items and the grammar.

Tasks, one vocabulary, one prompt builder (the one that serving uses):
transcribe (audio to text), read (text to interleaved text and audio), spoken question (audio to
transcript to tool call or answer), typed question (text only, free to generate).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from step_audio.core.types import TokenGroup
from step_audio.data.spoken import SpokenItem
from step_audio.dialog.prompting.layout import TEXT_RUN
from step_audio.dialog.prompting.prompt import (
    Audio,
    Call,
    Heard,
    Part,
    PromptBuilder,
    Spoken,
    Text,
    Turn,
)
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.speakable.pronunciation import Pronunciations
from step_audio.nano.domain import (
    IN_ROLE_INTENTS,
    Delivery,
    QaSample,
    delivery,
    delivery_after,
    generate,
    generate_intent,
    greetings,
    role_start,
)

SOUNDING = 0.4
"""Share of answers learned with their sound, which is nine tenths of an answer's ids."""

REMEMBERED = 20_000
"""Heard items that samples are drawn from, the newest."""

UNRELATED = 0.4
"""Share of questions of their own that come after something else. Where only follow-ups had a
history, every second question of a conversation was taken for one."""


INTERRUPTED = 0.15
"""Share of past answers that nobody heard to their end."""

GREETED = 0.06
"""Share of questions that come after a greeting which nobody asked for, and of typed ones that are
that greeting: many clients let the model speak first."""


OPEN_READ = 0.75
"""Share of texts to read that are open English, where there is any."""

BY_SOUNDS, WORD_BY_SOUNDS = 0.5, 0.3
"""Share of texts to read in which known words are written by their sounds too, and of those words
in such a text: both ways of writing a word mean the same."""


IN_MANNER = 0.2
"""Share of questions of their own that are asked after a role or a manner was asked for."""

REQUESTS, LASTS = (1, 1, 1, 2), (0, 0, 1, 2)
"""How many such requests come before the question, and how many exchanges after each of them; one
number as likely as another."""

COPYING = ("repeat", "weather", "time", "count")
COPIED = 0.35
"""Share of typed questions of these intents, beside those that the domain draws of them: words that
were never asked for have to be copied, and text is the cheapest place to learn it."""


@dataclass(frozen=True, slots=True)
class LmSample:
    """ids with a mask over the positions whose id must be predicted."""

    ids: list[int]
    mask: list[bool]
    task: str


@dataclass(frozen=True, slots=True)
class TaskWeights:
    """How often each task is drawn."""

    transcribe: float = 0.15
    read: float = 0.3
    spoken: float = 0.35
    typed: float = 0.2


@dataclass(frozen=True, slots=True)
class AnswerManner:
    """How answers are given: as style tags, and `start`, the words of a role."""

    delivery: Delivery = Delivery()  # noqa: RUF009
    start: str = ""

    def begin(self, answer: str) -> str:
        """Return an answer with its tags and the words of the role before it."""
        return " ".join(part for part in (self.delivery.tags, self.start, answer) if part)

    def after(self, request: QaSample) -> AnswerManner:
        """Return the manner once a request was followed."""
        start = role_start(request) if request.intent == "role" else self.start
        return AnswerManner(delivery_after(self.delivery, request), start)


class SampleComposer:
    """Draws samples from the shards added to it.

    Args:
        builder: turns to ids, as serving does it.
        rng: every choice comes from here.
        weights: the mix of tasks.
        pronunciations: how unknown words are written; None: texts are read as they are.

    Attributes:
        reading: open English in the answer voice, to read.
    """

    def __init__(
        self,
        builder: PromptBuilder,
        rng: random.Random,
        weights: TaskWeights | None = None,
        pronunciations: Pronunciations | None = None,
    ) -> None:
        self.builder, self.random, self.pronunciations = builder, rng, pronunciations
        self.reading: list[SpokenItem] = []
        self.shards: set[str] = set()
        self.hearing: list[SpokenItem] = []
        self.questions: list[tuple[SpokenItem, QaSample]] = []
        self.speaking: list[SpokenItem] = []
        self.answers: dict[str, list[SpokenItem]] = {}
        self.set_weights(weights or TaskWeights())

    def add(self, hearing: Sequence[SpokenItem], samples: Sequence[QaSample | None]) -> None:
        """Add what was said to nano, and which question each item is, if any.

        What was heard long ago is forgotten: the encoder may hear it otherwise by now.
        """
        self.hearing += [item for item in hearing if item.text]
        self.questions += [(i, qa) for i, qa in zip(hearing, samples, strict=True) if qa]
        del self.hearing[:-REMEMBERED]
        del self.questions[:-REMEMBERED]

    def add_answers(self, speaking: Sequence[SpokenItem]) -> None:
        """Add texts spoken by the answer voice."""
        self.speaking += speaking
        for item in speaking:
            self.answers.setdefault(item.text, []).append(item)

    def set_weights(self, weights: TaskWeights) -> None:
        """Change the mix from now on."""
        self._tasks: list[Callable[[], LmSample]] = [
            self.transcribe,
            self.read,
            self.spoken,
            self.typed,
        ]
        self._weights = [weights.transcribe, weights.read, weights.spoken, weights.typed]

    def draw(self) -> LmSample:
        """Return the next sample."""
        return self.random.choices(self._tasks, self._weights)[0]()

    def transcribe(self) -> LmSample:
        """Audio of anybody to its words."""
        item = self.random.choice(self.hearing)
        turns = (
            _system("transcribe"),
            Turn("human", (Audio(item.groups),)),
            Turn("assistant", (Text(item.text),)),
        )
        return LmSample(*self.builder.training_sequence(turns), "transcribe")

    def read(self) -> LmSample:
        """Text to audio in the answer voice, as `SpeechSynthesizer` asks for it."""
        open_text = self.reading and self.random.random() < OPEN_READ
        item = self.random.choice(self.reading if open_text else self.speaking)
        turns = (
            _system("read"),
            Turn("human", (Text(self._spelled(item.text)),)),
            Turn("assistant", (Audio(item.groups),)),
        )
        return LmSample(*self.builder.training_sequence(turns), "read")

    def _spelled(self, text: str) -> str:
        if self.pronunciations is None:
            return text
        if self.random.random() >= BY_SOUNDS:
            return self.pronunciations.spelled(text)
        keep = {w for w in self.pronunciations.known if self.random.random() >= WORD_BY_SOUNDS}
        return self.pronunciations.spelled(text, keep=keep)

    def spoken(self) -> LmSample:
        """A spoken question to its transcript, then a call or an answer."""
        item, qa = self.random.choice(self.questions)
        question = Turn("human", (Audio(item.groups),))
        return self._question(qa, question, (Heard(item.text),), "spoken")

    def typed(self) -> LmSample:
        """A typed question; the answer stops before its sound where none was synthesised."""
        if self.random.random() < GREETED:
            return self._greeting()
        qa = self._typed_question()
        while not qa.question:
            qa = self._typed_question()
        question = as_typed(qa.question, self.random)
        return self._question(qa, Turn("human", (Text(question),)), (), "typed")

    def _typed_question(self) -> QaSample:
        if self.random.random() < COPIED:
            return generate_intent(self.random, self.random.choice(COPYING), "train")
        return generate(self.random, "train")

    def _question(
        self, qa: QaSample, question: Turn, heard: tuple[Part, ...], task: str
    ) -> LmSample:
        free = not qa.history and qa.intent in IN_ROLE_INTENTS
        if free and self.random.random() < IN_MANNER:
            before, manner = self._in_manner()
        else:
            before, manner = self._history(qa), AnswerManner()
        turns = [_system("answer"), *before, question]
        manner = replace(manner, delivery=delivery(qa, manner.delivery))
        context = len(turns)
        if qa.call is not None:
            turns.append(Turn("assistant", (*heard, Call(*qa.call))))
            turns.append(Turn("tool", (Text(qa.result or "{}"),)))
            heard = ()
        return self._answered(turns, qa.answer, task, context, heard, manner=manner)

    def _in_manner(self) -> tuple[list[Turn], AnswerManner]:
        """Return turns that ask for roles and manners, and how answers are given from then on."""
        turns: list[Turn] = []
        manner = AnswerManner()
        for _ in range(self.random.choice(REQUESTS)):
            request = generate_intent(self.random, self.random.choice(("role", "style")), "train")
            this = replace(manner, delivery=delivery(request, manner.delivery), start="")
            turns += _exchange(request, this.begin(request.answer))
            manner = manner.after(request)
            for _ in range(self.random.choice(LASTS)):
                past = generate_intent(self.random, self.random.choice(IN_ROLE_INTENTS), "train")
                turns += _exchange(past, manner.begin(past.answer))
        return turns, manner

    def _greeting(self) -> LmSample:
        """An answer to nothing at all."""
        return self._answered([_system("answer")], self.random.choice(greetings()), "typed", 1)

    def _answered(
        self,
        turns: list[Turn],
        answer: str,
        task: str,
        context: int,
        heard: tuple[Part, ...] = (),
        *,
        manner: AnswerManner = AnswerManner(),
    ) -> LmSample:
        """Return the turns with the answer behind them in its manner, its sound now and then."""
        groups = self._groups(answer) if self.random.random() < SOUNDING else ()
        if manner.start:
            begun = self._groups(manner.start)
            groups = (*begun, *groups) if begun and groups else ()
        answer = manner.begin(answer)
        turns.append(Turn("assistant", (*heard, Spoken(answer, groups))))
        ids, mask = self.builder.training_sequence(turns, context=context)
        if not groups:
            # Without sound the turn stops where its first sound would stand.
            cut = 1 + max(0, len(self.builder.text(answer)) - TEXT_RUN)
            ids, mask = ids[:-cut], mask[:-cut]
        return LmSample(ids, mask, task)

    def _history(self, qa: QaSample) -> list[Turn]:
        """Return what was said before: what the question follows up, or often something else."""
        before = qa.history
        if not before and self.random.random() < UNRELATED:
            drawn = [generate(self.random, "train") for _ in range(self.random.choice((1, 1, 2)))]
            # What lasts would hold from there on; an answer to a follow-up needs what came before.
            before = tuple(
                p
                for p in drawn
                if p.question and p.intent not in ("role", "style") and not p.history
            )
        turns: list[Turn] = []
        if self.random.random() < GREETED:
            turns.append(Turn("assistant", (Text(self.random.choice(greetings())),)))
        for past in before:
            # What a follow-up asks about was heard.
            answer = AnswerManner(delivery(past)).begin(past.answer)
            turns += _exchange(past, answer if qa.history else self._as_heard(answer))
        return turns

    def _as_heard(self, answer: str) -> str:
        """Return a past answer, now and then broken off, as an interruption leaves it."""
        if self.random.random() >= INTERRUPTED:
            return answer
        words = answer.split(" ")
        return " ".join(words[: self.random.randrange(len(words))])

    def _groups(self, answer: str) -> tuple[TokenGroup, ...]:
        spoken = self.answers.get(answer)
        return self.random.choice(spoken).groups if spoken else ()


def as_typed(text: str, rng: random.Random) -> str:
    """Return a question as people type it: often with a capital and a mark, sometimes shouting."""
    dice = rng.random()
    if dice < 0.45:
        return text
    if dice < 0.5:
        return text.upper()
    words = text.split(" ")
    titled = rng.random() < 0.3
    written = " ".join(
        w[:1].upper() + w[1:] if i == 0 or titled else w for i, w in enumerate(words)
    )
    return written + rng.choice(("", "?", "?", "?", ".", "!"))


def _exchange(past: QaSample, answer: str) -> list[Turn]:
    """Return a question, its tool call if any, and the answer, as history shows them."""
    turns = [Turn("human", (Text(past.question),))]
    if past.call is not None:
        turns.append(Turn("assistant", (Call(*past.call),)))
        turns.append(Turn("tool", (Text(past.result or "{}"),)))
    turns.append(Turn("assistant", (Text(answer),)))
    return turns


def _system(prompt: str) -> Turn:
    return Turn("system", (Text(load_prompt(prompt)),))
