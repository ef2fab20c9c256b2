"""A chat model's answer read aloud by a speech service: sound at once, cut to the word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from step_audio.core.chat import ChatEvent
from step_audio.core.errors import EngineLost
from step_audio.core.types import AudioChunk, TextDelta
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Answer, Conversation, Typed
from step_audio.dialog.settings import DialogSettings
from tests.fakes import MemoryVoices, ScriptedChat, ScriptedEngine, services

ANSWER = [TextDelta("It is noon."), TextDelta(" Go to lunch now."), TextDelta(" **Bye.**")]


@dataclass
class ScriptedSpeech:
    """A second of sound a sentence, in tenths; records what it was asked for, and the aborts."""

    sample_rate_hz: int = 8000
    error: Exception | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    aborted: int = 0

    async def read(self, text: str, voice: str) -> AsyncIterator[AudioChunk]:
        self.asked.append((text, voice))
        finished = False
        try:
            for _ in range(10):
                await asyncio.sleep(0)
                yield AudioChunk(np.full(800, 0.1, np.float32), self.sample_rate_hz)
                if self.error is not None:
                    raise self.error
            finished = True
        finally:
            self.aborted += not finished

    async def ready(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


def speaking(speech: ScriptedSpeech, script: list[ChatEvent | Exception]) -> Assistant:
    parts = replace(
        services(ScriptedEngine([])),
        chat_model=ScriptedChat([script]),
        speech_model=speech,
        audio_tokenizer=None,
        voices=MemoryVoices("af_heart", "bm_george"),
        default_voice="af_heart",
    )
    return Assistant(parts, DialogSettings(responder="chat"))


def asked() -> Conversation:
    talk = Conversation()
    talk.add(Typed("q", "human", "what now"))
    return talk


async def test_each_sentence_is_read_in_the_voice_that_was_asked_for() -> None:
    speech = ScriptedSpeech()
    assistant, talk = speaking(speech, [*ANSWER]), asked()
    events = [e async for e in assistant.answer(talk, answer_id="a", voice="bm_george")]
    assert speech.asked == [
        ("It is noon.", "bm_george"),
        ("Go to lunch now.", "bm_george"),
        ("Bye.", "bm_george"),
    ]
    sound = [event for event in events if isinstance(event, AudioChunk)]
    assert len(sound) == 30
    assert {chunk.rate_hz for chunk in sound} == {8000}
    answer = talk.get("a")
    assert isinstance(answer, Answer)
    assert (answer.duration_ms, answer.groups) == (3000, [])


@pytest.mark.parametrize(
    ("heard_ms", "text"),
    [(0, ""), (1000, "It is noon."), (1500, "It is noon. Go to"), (9000, None)],
)
async def test_what_was_heard_is_cut_to_the_word(heard_ms: int, text: str | None) -> None:
    assistant, talk = speaking(ScriptedSpeech(), [*ANSWER]), asked()
    async for _ in assistant.answer(talk, answer_id="a"):
        pass
    answer = talk.get("a")
    assert isinstance(answer, Answer)
    whole = answer.text
    answer.truncate(heard_ms)
    assert answer.text == (whole if text is None else text)


async def test_an_answer_that_is_left_leaves_the_service_too() -> None:
    speech = ScriptedSpeech()
    assistant = speaking(speech, [*ANSWER])
    async with aclosing(assistant.answer(asked())) as events:
        async for event in events:
            if isinstance(event, AudioChunk):
                break
    assert speech.aborted <= 1
    assert len(speech.asked) < 3


async def test_a_service_that_breaks_off_fails_the_answer() -> None:
    speech = ScriptedSpeech(error=EngineLost("voice", "gone"))
    assistant = speaking(speech, [*ANSWER])
    with pytest.raises(EngineLost):
        _ = [event async for event in assistant.answer(asked())]


async def test_texts_are_read_by_it_too() -> None:
    speech = ScriptedSpeech()
    assistant = speaking(speech, [])
    chunks = [chunk async for chunk in assistant.say("One. Two.", "af_heart")]
    assert [text for text, _ in speech.asked] == ["One.", "Two."]
    assert sum(len(chunk.pcm) for chunk in chunks) == 16_000
