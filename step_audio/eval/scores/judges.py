"""Language models as judges: a prompt, the shape of the verdict, how often it is asked.

The shapes are those of the sets; the words of the prompts are ours, because the sets' own are not
ours to ship. Put theirs into a folder, under the names here, to ask with them
(`--judge-prompts`). A verdict of another shape is invalid, and counted apart.
Sources: Kimi-Audio-Evalkit `ds_refqa.py` (OpenAudioBench), VoiceBench `api_judge.py`, URO-Bench
`metrics/mark_*.py`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from step_audio.core.errors import InputError
from step_audio.data.manifest import content_id
from step_audio.dialog.prompting.system_prompts import load_prompt

Verdict = Mapping[str, float]
"""Figure to value."""
_OBJECT: Final = re.compile(r"\{.*\}", re.DOTALL)


class Completes(Protocol):
    """A chat endpoint; `data.llm.ChatEndpoint` is one. Raises EndpointError."""

    @property
    def model(self) -> str: ...
    def complete(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> str: ...


@dataclass(frozen=True, slots=True)
class JudgeShape:
    """How one kind of judge is asked.

    Attributes:
        prompt: name of the prompt, in the package or in the given folder.
        parse: a completion to a verdict; None: not of the shape.
        worst: the verdict of no answer, which no judge is asked about.
        times: how many verdicts; those that are usable are combined.
        combine: mean, or majority of 0 and 1.
        again: how often one that is not of the shape is asked for again.
    """

    prompt: str
    parse: Callable[[str], Verdict | None]
    worst: Verdict
    times: int = 1
    settings: Mapping[str, float] = field(default_factory=lambda: {"temperature": 0.0})
    combine: Literal["mean", "majority"] = "mean"
    again: int = 0


def parse_stepeval(text: str) -> Verdict | None:
    """Return what a JSON object with factuality, relevance and chat says, None for another."""
    row = _object(text)
    try:
        made = {name: int(row[name]) for name in ("factuality", "relevance", "chat")}
    except (KeyError, TypeError, ValueError):
        return None
    right = made["factuality"] in (0, 1) and made["relevance"] in (0, 1) and 1 <= made["chat"] <= 5
    return {name: float(value) for name, value in made.items()} if right else None


def parse_bracketed(text: str) -> Verdict | None:
    """Return the last [Correct] or [Incorrect]."""
    found = re.findall(r"\[(correct|incorrect)\]", text, re.IGNORECASE)
    return {"correct": float(found[-1].lower() == "correct")} if found else None


def parse_judgment(text: str) -> Verdict | None:
    """Return the field `judgment` of a JSON object: correct or incorrect."""
    said = str(_object(text).get("judgment", "")).strip().lower()
    return {"correct": float(said == "correct")} if said in ("correct", "incorrect") else None


def _number(figure: str, low: int, high: int, pattern: str) -> Callable[[str], Verdict | None]:
    def parse(text: str) -> Verdict | None:
        found = re.findall(pattern, text)
        value = float(found[-1]) if found else -1.0
        return {figure: value} if low <= value <= high else None

    return parse


def _yes_or_no(figure: str, yes: float = 1.0) -> Callable[[str], Verdict | None]:
    def parse(text: str) -> Verdict | None:
        found = re.match(r"\W*(yes|no|是|否)(?!\w)", text.strip(), re.IGNORECASE)
        return {figure: yes * (found[1].lower() in ("yes", "是"))} if found else None

    return parse


def _uro_open(text: str) -> Verdict | None:
    alone = _ALONE(text)
    return None if alone is None else {"uro": 20.0 * alone["rating"]}


_ALONE: Final = _number("rating", 1, 5, r"^\W*([1-5])\W*$")
_SAMPLED: Final = {"temperature": 0.5, "top_p": 0.95}
SHAPES: Final[Mapping[str, JudgeShape]] = {
    "stepeval": JudgeShape(
        "stepeval_judge",
        parse_stepeval,
        {"factuality": 0.0, "relevance": 0.0, "chat": 1.0},
        again=2,
    ),
    "paralinguistic": JudgeShape("judge_paralinguistic", _yes_or_no("correct"), {"correct": 0.0}),
    "correct": JudgeShape("judge_correct", parse_bracketed, {"correct": 0.0}),
    "alias": JudgeShape("judge_alias", parse_judgment, {"correct": 0.0}),
    "rating10": JudgeShape(
        "judge_rating10", _number("rating10", 1, 10, r"\[\[(\d+)\]\]"), {"rating10": 1.0}
    ),
    "reasoning": JudgeShape(
        "judge_reasoning", _number("reasoning", 0, 5, r"\[(\d)\]"), {"reasoning": 0.0}
    ),
    "open5": JudgeShape("judge_open", _ALONE, {"rating": 1.0}, 3, _SAMPLED),
    "yesno": JudgeShape(
        "judge_yes_no", _yes_or_no("yes"), {"yes": 0.0}, 3, _SAMPLED, combine="majority"
    ),
    "uro_open": JudgeShape("judge_open", _uro_open, {"uro": 0.0}, 3, {"temperature": 0.5}),
    "uro_answer": JudgeShape(
        "judge_yes_no", _yes_or_no("uro", 100.0), {"uro": 0.0}, 3, {"temperature": 0.5}
    ),
    "arguments": JudgeShape(
        "judge_arguments", _yes_or_no("call_arguments_judged"), {"call_arguments_judged": 0.0}
    ),
}


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """What a judge is told of one answer.

    Attributes:
        conversation: the person's turns and the answers before the last, a line each.
        answer: the last answer's words.
        reference: right answers; "" for none.
        sound: the last answer's file, sent along where the judge takes sound.
    """

    category: str
    conversation: str
    question: str
    answer: str
    reference: str
    sound: Path | None = None


class JudgePanel:
    """Judges of all shapes at one endpoint.

    Args:
        endpoint: the language model.
        prompts: folder of prompts that stand for the package's, NAME.txt each.
    """

    def __init__(self, endpoint: Completes, prompts: Path | None = None) -> None:
        self.endpoint, self._prompts = endpoint, prompts

    def prompt(self, name: str) -> str:
        """Return a prompt. Raises InputError: a file of the folder cannot be read."""
        file = None if self._prompts is None else self._prompts / f"{name}.txt"
        if file is None or not file.exists():
            return load_prompt(name)
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {file}: {error}") from None

    def key(self, shape: str, asked: JudgedAnswer) -> str:
        """Return what changes when the judgement might: the model, the prompt, what is asked."""
        heard = "" if asked.sound is None else asked.sound.name
        prompt = self.prompt(SHAPES[shape].prompt)
        texts = (asked.category, asked.conversation, asked.answer, asked.reference, heard)
        return content_id(self.endpoint.model, shape, prompt, *texts)

    def judge(self, shape: str, asked: JudgedAnswer) -> tuple[Verdict | None, list[str]]:
        """Return the verdict, None for an invalid one, and every completion.

        Raises:
            EndpointError: the judge cannot be reached.
        """
        kind = SHAPES[shape]
        message = {"role": "user", "content": self._content(kind.prompt, asked)}
        said: list[str] = []
        verdicts: list[Verdict] = []
        for number in range(kind.times):
            for attempt in range(1 + kind.again):
                seed = number * (1 + kind.again) + attempt
                said.append(self.endpoint.complete([message], seed=seed, **kind.settings))
                verdict = kind.parse(said[-1])
                if verdict is not None:
                    verdicts.append(verdict)
                    break
        return _combined(verdicts, kind.combine), said

    def _content(self, prompt: str, asked: JudgedAnswer) -> Any:
        parts = {
            "category": asked.category,
            "conversation": asked.conversation,
            "question": asked.question,
            "answer": asked.answer,
            "reference": asked.reference,
        }
        # In one pass, so that no answer can bring in a placeholder of its own.
        text = re.sub(r"\{(\w+)\}", lambda m: parts.get(m[1], m[0]), self.prompt(prompt))
        if asked.sound is None or not asked.sound.is_file():
            return text
        encoded = base64.b64encode(asked.sound.read_bytes()).decode()
        audio = {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}}
        return [{"type": "text", "text": text}, audio]


def _combined(verdicts: Sequence[Verdict], how: Literal["mean", "majority"]) -> Verdict | None:
    if not verdicts:
        return None
    means = {name: sum(v[name] for v in verdicts) / len(verdicts) for name in verdicts[0]}
    return (
        {name: float(value > 0.5) for name, value in means.items()} if how == "majority" else means
    )


def _object(text: str) -> Mapping[str, Any]:
    found = _OBJECT.search(text)
    try:
        row = json.loads(found.group()) if found else None
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else {}
