"""Reading along: what the engine is told while a question is spoken, and what is left after."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest

from step_audio.core.errors import EngineError
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, UserAudio
from step_audio.dialog.turns.utterance import Utterance
from tests.fakes import CountingTokenizer, ScriptedEngine, services, text_ids

SECOND = np.zeros(16000, np.float32)


def question() -> Utterance:
    return Utterance(CountingTokenizer(), 16000)


async def test_a_question_is_told_in_pieces_while_it_is_spoken() -> None:
    engine = ScriptedEngine([text_ids("yes")])
    assistant, talk, spoken = Assistant(services(engine)), Conversation(), question()
    ahead = assistant.read_ahead("s1")
    for _ in range(5):
        for part in np.array_split(SECOND, 10):
            spoken.push(part)
            ahead.follow(talk, spoken, "be kind")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    told = [prompt for prompt, _ in engine.prefilled]
    assert 5 <= len(told) <= 12  # not for every 100 ms
    assert {session for _, session in engine.prefilled} == {"s1"}
    assert all(a == b[: len(a)] for a, b in pairwise(told))
    talk.add(UserAudio.spoken("q", spoken.finish()))
    async for _ in assistant.answer(talk, instructions=None, session="s1"):
        pass
    assert engine.requests[0].session == "s1"
    await ahead.close()


async def test_the_history_is_told_as_soon_as_a_question_begins() -> None:
    engine = ScriptedEngine([[]])
    ahead = Assistant(services(engine)).read_ahead("s")
    ahead.follow(Conversation(), question(), "be kind")
    await asyncio.sleep(0)
    assert len(engine.prefilled) == 1
    await ahead.close()


class Stuck(ScriptedEngine):
    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        await super().prefill(prompt, session)
        await asyncio.Event().wait()


async def test_one_prefill_at_a_time_and_none_after_the_end() -> None:
    engine = Stuck([[]])
    ahead, talk, spoken = Assistant(services(engine)).read_ahead("s"), Conversation(), question()
    for _ in range(5):
        spoken.push(SECOND)
        ahead.follow(talk, spoken, "")
        await asyncio.sleep(0)
    assert len(engine.prefilled) == 1
    await asyncio.wait_for(ahead.close(), 1)


class Broken(ScriptedEngine):
    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        raise EngineError("no")


async def test_an_engine_that_cannot_read_ahead_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ahead = Assistant(services(Broken([[]]))).read_ahead("s")
    ahead.follow(Conversation(), question(), "")
    await asyncio.sleep(0)
    await ahead.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
