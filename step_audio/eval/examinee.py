"""What the examination sees of the system under test: sound in, one record out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from step_audio.core.errors import StepAudioError
from step_audio.core.ports import ToolSpec
from step_audio.core.types import Pcm, ToolCall


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One answer.

    Attributes:
        transcript: what the model says it heard; "" when it does not say.
        text: the text of its answer, all rounds joined.
        calls: tool calls in order.
        pcm: the answer's sound, (T,); T may be 0.
        rate_hz: its rate.
        first_audio_ms: end of the question to the first sample of the answer; None: no sound.
        rtf: seconds of work per second of sound; None: no sound.
        error: why there is no answer; "" when there is one.
    """

    transcript: str = ""
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    pcm: Pcm = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    rate_hz: int = 22_050
    first_audio_ms: float | None = None
    rtf: float | None = None
    error: str = ""


class ExamineeGone(StepAudioError):
    """Nobody answers where the examinee should be: the run stops, and goes on when it is back."""

    code = "examinee_gone"


class ExamineeBusy(StepAudioError):
    """The examinee has no place now; the same question is asked again later."""

    code = "examinee_busy"


class ExamineeFailed(StepAudioError):
    """The examinee gave no usable answer; that is its answer."""

    code = "examinee_failed"


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """One turn of the person: sound (T,), or words alone where a set has no sound for it."""

    text: str
    pcm: Pcm | None
    rate_hz: int = 16_000


class Examinee(Protocol):
    """What an evaluation runs on: a profile in this process, or a server.

    Every method may raise ExamineeGone, ExamineeBusy and, for what is its own fault, any other
    StepAudioError.

    Attributes:
        name: in reports and tables.
        places: how many questions it takes side by side.
        clones: whether `speak` takes the voice of the example.
    """

    name: str
    places: int
    clones: bool

    async def answer(
        self, turns: Sequence[AskedTurn], tools: Sequence[ToolSpec] = ()
    ) -> list[AnswerRecord]:
        """Answer the turns one after the other in one conversation; a record for each."""

    async def transcribe(self, pcm: Pcm, rate_hz: int, language: str) -> str:
        """Write down what is said; `language` is an ISO 639-1 code or ""."""

    async def speak(
        self, text: str, example: tuple[Pcm, int] | None, example_text: str
    ) -> tuple[Pcm, int]:
        """Read a text aloud, in the voice of the example where that can be done."""

    async def aclose(self) -> None:
        """Let go of models and connections."""


class Answerer(Protocol):
    """One question in a fresh conversation; its tools are `FakeTools(exam.TOOL_SEED)`."""

    def __call__(self, pcm: Pcm, rate_hz: int, /) -> AnswerRecord: ...


class Resynthesiser(Protocol):
    """Sound to tokens and back to sound, in the answer voice."""

    def __call__(self, pcm: Pcm, rate_hz: int, /) -> tuple[Pcm, int]: ...


class Reader(Protocol):
    """Reads a text aloud in the default voice: samples (T,) and their rate."""

    def __call__(self, text: str, /) -> tuple[Pcm, int]: ...


def same_call(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two (name, JSON arguments) mean the same: spaces, case of text, order of keys
    and the form of numbers do not matter; broken JSON equals nothing."""
    try:
        return one[0] == other[0] and _canonical(json.loads(one[1])) == _canonical(
            json.loads(other[1])
        )
    except ValueError:
        return False


def ask(answerer: Answerer, pcm: Pcm, rate_hz: int) -> AnswerRecord:
    """Return the answer; a failure of the system is a record with its error, not an exception."""
    try:
        return answerer(pcm, rate_hz)
    except StepAudioError as error:
        return AnswerRecord(error=f"{error.code}: {error}")


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, str):
        return "".join(value.lower().split())
    return float(value) if isinstance(value, int | float) else value
