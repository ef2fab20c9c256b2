"""What is measured six times at the price of once must be the same six times."""

from dataclasses import replace

import numpy as np

from step_audio.core.types import Pcm
from step_audio.dialog.assistant import Assistant
from tests.bench.remembered import RememberedEngine, RememberedVoice
from tests.fakes import VOCAB, ScriptedEngine, group, services

ONE, OTHER = (VOCAB.ids([group(n), group(n + 1)]) for n in (1, 5))


async def said(assistant: Assistant, text: str) -> Pcm:
    chunks = [chunk.pcm async for chunk in assistant.say(text)]
    return np.concatenate(chunks)


async def test_what_was_said_before_is_repeated_without_asking_again() -> None:
    inner = ScriptedEngine([ONE, OTHER])
    plain = services(inner)
    engine, voice = RememberedEngine(inner), RememberedVoice(plain.vocoder)
    assistant = Assistant(replace(plain, engine=engine, vocoder=voice))
    first, other = await said(assistant, "One."), await said(assistant, "Other.")
    again = await said(assistant, "One.")
    await assistant.aclose()
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(other, first)
    assert len(inner.requests) == engine.asked == 2


def test_a_stream_that_leaves_the_known_way_goes_on_as_it_would_have() -> None:
    plain = services(ScriptedEngine([])).vocoder
    speaker = services(ScriptedEngine([])).voices.get("rms")
    voice = RememberedVoice(plain)
    for numbers in ((1, 2, 3), (1, 2, 9), (1, 2)):
        wanted, got = plain.open(speaker), voice.open(speaker)
        for number in numbers:
            for a, b in zip(wanted.push(group(number)), got.push(group(number)), strict=True):
                np.testing.assert_array_equal(a, b)
        assert [len(p) for p in wanted.flush()] == [len(p) for p in got.flush()]
