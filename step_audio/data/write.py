"""Texts into samples and lines: who asks what, which parts are sound, what must be said for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from step_audio.core.json_lines import RowWriter, read_rows
from step_audio.data.manifest import TextLine
from step_audio.data.samples import TASKS, Sample
from step_audio.data.tags import Tags


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer as text, before anybody speaks.

    Attributes:
        question, answer: plain words.
        call, result: tool name and JSON arguments, and what the tool returned; or None.
        history: earlier exchanges, shown as text.
        tags: how the answer is spoken.
        source: where it comes from.
    """

    question: str
    answer: str
    call: tuple[str, str] | None = None
    result: str | None = None
    history: tuple[Exchange, ...] = ()
    tags: Tags = field(default_factory=Tags)
    language: str = "en"
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the model's prompts look like.

    Attributes:
        answer, read, transcribe: names of system prompts of the package.
        published_tts: reading is asked for by the published TTS prompt, whose system turn
            explains the tags, instead of `read`.
        hears: spoken questions are first written down (`Heard`), as nano does it.
    """

    answer: str = "answer"
    read: str = "read"
    transcribe: str = "transcribe"
    published_tts: bool = False
    hears: bool = True


PUBLISHED = Layout(published_tts=True, hears=False)


def sample_of(
    exchange: Exchange, task: str, layout: Layout, example: TextLine | None = None
) -> tuple[Sample, list[TextLine]]:
    """Return the sample of one task and the lines that it needs said.

    Args:
        example: a line of the same voice, which the published TTS layout shows first.
    """
    asked, said = _asked(exchange), _answered(exchange)
    if task == "ASR":
        turns = [
            ["system", [{"prompt": layout.transcribe}]],
            ["human", [{"audio": asked.id}]],
            ["assistant", [{"text": asked.text}]],
        ]
        return Sample(task, turns, 0, exchange.source), [asked]
    if task == "TTS":
        tagged = exchange.tags.prefix() + said.text
        system = {"tts": tagged} if layout.published_tts else {"prompt": layout.read}
        shown = example if layout.published_tts else None
        turns = [["system", [system]]]
        if shown is not None:
            turns.append(["human", [{"text": shown.text}]])
            turns.append(["assistant", [{"audio": shown.id}]])
        context = len(turns)
        turns.append(["human", [{"text": tagged}]])
        turns.append(["assistant", [{"audio": said.id}]])
        needed = [said] if shown is None else [shown, said]
        return Sample(task, turns, context, exchange.source), needed
    return _dialogue(exchange, task, layout, asked, said)


def _asked(exchange: Exchange) -> TextLine:
    return TextLine(exchange.question, "user", language=exchange.language, source=exchange.source)


def _answered(exchange: Exchange) -> TextLine:
    return TextLine(
        exchange.answer,
        "assistant",
        exchange.tags,
        language=exchange.language,
        source=exchange.source,
    )


def _dialogue(
    exchange: Exchange, task: str, layout: Layout, asked: TextLine, said: TextLine
) -> tuple[Sample, list[TextLine]]:
    spoken_question, spoken_answer = task[0] == "A", task[2] == "A"
    turns: list[Any] = [["system", [{"prompt": layout.answer}]]]
    for past in exchange.history:
        turns.append(["human", [{"text": past.question}]])
        turns.append(["assistant", [{"text": past.answer}]])
    question = {"audio": asked.id} if spoken_question else {"text": asked.text}
    turns.append(["human", [question]])
    context = len(turns)
    opening = [{"heard": asked.text}] if spoken_question and layout.hears else []
    if exchange.call is not None:
        turns.append(["assistant", [*opening, {"call": list(exchange.call)}]])
        turns.append(["tool", [{"text": exchange.result or "{}"}]])
        opening = []
    answer = {"spoken": said.text, "audio": said.id} if spoken_answer else {"text": said.text}
    turns.append(["assistant", [*opening, answer]])
    lines = [asked] * spoken_question + [said] * spoken_answer
    return Sample(task, turns, context, exchange.source), lines


@dataclass(frozen=True, slots=True)
class Written:
    """What a step of writing added to a data set.

    Attributes:
        samples, lines: new ones.
        repeated: samples that the set had already, from before or by an equal text.
    """

    samples: int
    lines: int
    repeated: int


def write(
    root: Path,
    exchanges: Iterable[Exchange],
    tasks: Sequence[str] = TASKS,
    layout: Layout | None = None,
) -> Written:
    """Append the samples of every exchange and the lines they need; return how many are new.

    Args:
        root: the data set.
        exchanges: texts; those already written add nothing.
        tasks: one sample of each for every exchange.
        layout: of the prompts; nano's by default.
    """
    known = {row["id"] for row in read_rows(root / "samples.jsonl")}
    said = {row["id"] for row in read_rows(root / "lines.jsonl")}
    samples = lines = repeated = 0
    example: TextLine | None = None
    with RowWriter(root / "lines.jsonl") as line_rows, RowWriter(root / "samples.jsonl") as rows:
        for exchange in exchanges:
            for task in tasks:
                sample, needed = sample_of(exchange, task, layout or Layout(), example)
                # Lines first: a sample on disk always has its lines there.
                for line in needed:
                    if line.id not in said:
                        said.add(line.id)
                        line_rows.add(line.row())
                        lines += 1
                if sample.id in known:
                    repeated += 1
                else:
                    known.add(sample.id)
                    rows.add(sample.row())
                    samples += 1
            # A slow or angry example would say that untagged texts are read so.
            if not exchange.tags.prefix():
                example = _answered(exchange)
    return Written(samples, lines, repeated)
