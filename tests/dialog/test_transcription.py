"""The words of a recording, from the model that answers."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from step_audio.core.errors import AudioError, CannotTranscribe
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.transcription import RecordingTranscriber
from tests.fakes import VOCAB, ScriptedEngine, services, text_ids

SPEECH = np.full(16_000, 0.1, np.float32)


def transcribed(
    script: list[int], pcm: np.ndarray = SPEECH, **settings: Any
) -> tuple[str, ScriptedEngine]:
    engine = ScriptedEngine([script])

    async def ask() -> str:
        assistant = Assistant(services(engine), DialogSettings(max_question_s=5.0, **settings))
        try:
            return await RecordingTranscriber(assistant).transcribe(pcm, 16_000)
        finally:
            await assistant.aclose()

    return asyncio.run(ask()), engine


def test_what_the_model_writes_down_is_the_transcript_and_its_answer_is_not_waited_for() -> None:
    assert VOCAB.heard_open is not None
    assert VOCAB.heard_close is not None
    heard = [VOCAB.heard_open, *text_ids("one two"), VOCAB.heard_close]
    text, engine = transcribed([*heard, *text_ids("an answer")])
    assert text == "one two"
    assert engine.aborted


def test_a_model_without_such_a_habit_is_taken_at_its_word() -> None:
    assert transcribed(text_ids(" three four "))[0] == "three four"


def test_a_recording_longer_than_a_question_is_refused() -> None:
    with pytest.raises(AudioError):
        transcribed([], np.tile(SPEECH, 6))


def test_the_model_is_asked_with_the_prompt_of_its_profile() -> None:
    _, engine = transcribed(
        text_ids("three four"), transcribe_prompt="chat_transcribe", takes_instructions=True
    )
    asked = engine.requests[0].prompt
    system = text_ids(load_prompt("chat_transcribe"))
    assert any(asked[at : at + len(system)] == tuple(system) for at in range(len(asked)))


def test_a_model_that_was_not_taught_to_transcribe_is_not_asked() -> None:
    with pytest.raises(CannotTranscribe, match="not taught"):
        transcribed([], transcribe_prompt="")
