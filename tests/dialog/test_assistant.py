import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from step_audio.core import toolformat
from step_audio.core.errors import (
    AudioError,
    EngineError,
    EngineUnavailable,
    VoiceNotFound,
)
from step_audio.core.ports import ToolSpec
from step_audio.core.types import (
    AudioChunk,
    SamplingParams,
    TextDelta,
    ToolCall,
    ToolResult,
    Transcript,
)
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.context_window import Usage
from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    Returned,
    UserAudio,
)
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.prompting.prompt import Audio, Call, Heard, PromptBuilder, Text, Turn
from step_audio.dialog.response.pipeline import AnswerEvent
from step_audio.dialog.response.token_stream import TokenTimeouts
from step_audio.dialog.settings import DialogSettings
from tests.fakes import (
    VOCAB,
    ByteTokenizer,
    MemoryRecorder,
    ScriptedEngine,
    SineVocoder,
    group,
    services,
    text_ids,
)

GROUPS = [group(n) for n in range(4)]
HEARD = [6, *text_ids("what time is it"), 7]
ANSWER = [*HEARD, *interleave(text_ids("It is noon."), GROUPS, VOCAB)]
BUILDER = PromptBuilder(ByteTokenizer(), VOCAB)
QUESTION = UserAudio("q", (group(7),))


def asked() -> Conversation:
    talk = Conversation()
    talk.add(QUESTION)
    return talk


async def collect(events: AsyncIterator[AnswerEvent]) -> list[AnswerEvent]:
    return [event async for event in events]


def words(events: list[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def samples(events: list[AnswerEvent]) -> int:
    return sum(len(event.pcm) for event in events if isinstance(event, AudioChunk))


async def test_a_spoken_question_is_heard_answered_and_spoken() -> None:
    engine = ScriptedEngine([ANSWER])
    assistant, talk = Assistant(services(engine)), asked()
    events = await collect(assistant.answer(talk, answer_id="a"))
    assert events[0] == Transcript("what time is it")
    assert words(events) == "It is noon."
    assert samples(events) == 4 * 960
    system = Turn("system", (Text("assistant"),))
    want = BUILDER.chat((system, Turn("human", (Audio(QUESTION.groups),))))
    assert engine.requests[0].prompt == tuple(want)
    assert engine.requests[0].stop_ids == {VOCAB.eot}
    question, answer = talk
    assert question == UserAudio("q", QUESTION.groups, "what time is it")
    assert isinstance(answer, Answer)
    assert (answer.item_id, answer.text, answer.groups) == ("a", "It is noon.", GROUPS)
    await assistant.aclose()


async def test_a_tool_is_called_and_its_result_is_answered_from() -> None:
    call = [*HEARD, 8, *text_ids('get_time {"city":"Rome"}')]
    engine = ScriptedEngine([call, interleave(text_ids("Noon."), GROUPS, VOCAB)])
    assistant, talk = Assistant(services(engine)), asked()
    events = await collect(assistant.answer(talk))
    made = next(event for event in events if isinstance(event, ToolCall))
    assert (made.name, made.arguments) == ("get_time", '{"city":"Rome"}')
    assert ToolResult(made.call_id, "get_time", '{"time":"noon"}') in events
    assert words(events) == "Noon."
    assert [type(item) for item in talk] == [UserAudio, Called, Returned, Answer]
    want = BUILDER.chat(
        (
            Turn("system", (Text("assistant"),)),
            Turn("human", (Audio(QUESTION.groups),)),
            Turn("assistant", (Heard("what time is it"), Call("get_time", '{"city":"Rome"}'))),
            Turn("tool", (Text('{"time":"noon"}'),)),
        )
    )
    assert engine.requests[1].prompt == tuple(want)


async def test_a_failed_tool_is_told_to_the_model() -> None:
    engine = ScriptedEngine([[8, *text_ids("nothing {}")], text_ids("Sorry.")])
    events = await collect(Assistant(services(engine)).answer(asked()))
    result = next(event for event in events if isinstance(event, ToolResult))
    assert result.output == toolformat.FAILED
    assert words(events) == "Sorry."


async def test_a_model_that_only_calls_tools_is_asked_for_its_answer_without_them() -> None:
    call = [8, *text_ids("get_time {}")]
    engine = ScriptedEngine([call, call, call, text_ids("It is noon.")])
    events = await collect(Assistant(services(engine)).answer(asked()))
    assert words(events) == "It is noon."
    assert [request.calls and request.calls.must for request in engine.requests] == [
        *[None] * 3,
        False,
    ]
    stubborn = ScriptedEngine([call])
    events = await collect(Assistant(services(stubborn)).answer(asked()))
    assert len(stubborn.requests) == 4
    assert sum(isinstance(event, ToolCall) for event in events) == 3


async def test_a_call_of_a_clients_tool_ends_the_answer() -> None:
    engine = ScriptedEngine([[8, *text_ids("open_door {}")]])
    talk = asked()
    tools = [ToolSpec("open_door", "Open the door.", {})]
    events = await collect(Assistant(services(engine)).answer(talk, client_tools=tools))
    assert [type(event) for event in events] == [ToolCall]
    assert [type(item) for item in talk] == [UserAudio, Called]


async def test_an_answer_may_be_left_silent() -> None:
    events = await collect(
        Assistant(services(ScriptedEngine([ANSWER]))).answer(asked(), aloud=False)
    )
    assert words(events) == "It is noon."
    assert samples(events) == 0


async def test_closing_the_answer_aborts_the_engine() -> None:
    engine = ScriptedEngine([ANSWER], hold=len(HEARD) + 3)
    talk = asked()
    answer = Assistant(services(engine)).answer(talk)
    async for event in answer:
        if words([event]):
            break
    await answer.aclose()
    assert engine.aborted == [engine.requests[0].request_id]
    assert not [task for task in asyncio.all_tasks() if "answer" in task.get_name()]


async def test_cancelling_the_reader_aborts_the_engine() -> None:
    engine = ScriptedEngine([ANSWER], hold=3)
    task = asyncio.create_task(collect(Assistant(services(engine)).answer(asked())))
    await engine.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert engine.aborted == [engine.requests[0].request_id]


async def test_an_engine_that_breaks_is_reported_after_what_it_said() -> None:
    engine = ScriptedEngine([text_ids("It")], error=EngineError("out of memory"))
    seen: list[AnswerEvent] = []

    async def watch() -> None:
        async for event in Assistant(services(engine)).answer(asked()):
            seen.append(event)

    with pytest.raises(EngineError, match="out of memory"):
        await watch()
    assert words(seen) == "It"


async def test_an_engine_that_says_nothing_in_time_is_given_up() -> None:
    engine = ScriptedEngine([ANSWER], hold=0)
    settings = DialogSettings(patience=TokenTimeouts(first_s=0.01))
    with pytest.raises(EngineUnavailable, match=r"0\.0 s"):
        await collect(Assistant(services(engine), settings).answer(asked()))
    assert engine.aborted == [engine.requests[0].request_id]


async def test_an_unknown_voice_is_refused_before_anything_runs() -> None:
    engine = ScriptedEngine([ANSWER])
    with pytest.raises(VoiceNotFound, match="available: rms, slt"):
        await collect(Assistant(services(engine)).answer(asked(), voice="../etc"))
    assert not engine.requests


async def test_instructions_reach_only_a_model_that_takes_them() -> None:
    for takes, system in ((False, "assistant"), (True, "be brief")):
        engine = ScriptedEngine([ANSWER])
        assistant = Assistant(services(engine), DialogSettings(takes_instructions=takes))
        await collect(assistant.answer(asked(), instructions="be brief"))
        first = BUILDER.turn(Turn("system", (Text(system),)))
        assert engine.requests[0].prompt[: len(first)] == tuple(first)


async def test_time_to_first_sound_is_observed() -> None:
    bundle = services(ScriptedEngine([ANSWER]))
    await collect(Assistant(bundle).answer(asked()))
    assert isinstance(bundle.recorder, MemoryRecorder)
    assert ("first_audio_s", 0.0) in bundle.recorder.seen
    assert ("answer_anomalies", 0) in bundle.recorder.seen


async def _vocoder_seeds(settings: DialogSettings) -> list[int]:
    """Return the seeds of three equal answers."""
    vocoder = SineVocoder()
    parts = replace(services(ScriptedEngine([ANSWER] * 3)), vocoder=vocoder)
    assistant = Assistant(parts, settings)
    for _ in range(3):
        await collect(assistant.answer(asked(), answer_id="a"))
    return vocoder.seeds


async def test_the_vocoder_draws_other_noise_for_each_answer() -> None:
    assert len(set(await _vocoder_seeds(DialogSettings()))) == 3


async def test_a_seeded_deployment_speaks_equal_answers_equally() -> None:
    assert await _vocoder_seeds(DialogSettings(sampling=SamplingParams(seed=5))) == [5, 5, 5]


async def test_text_is_read_aloud_sentence_by_sentence() -> None:
    engine = ScriptedEngine([VOCAB.ids(GROUPS[:2]), VOCAB.ids(GROUPS[2:])])
    chunks = [chunk async for chunk in Assistant(services(engine)).say("One. Two.")]
    assert sum(len(chunk.pcm) for chunk in chunks) == 4 * 960
    assert {chunk.rate_hz for chunk in chunks} == {8000}
    for request, sentence in zip(engine.requests, ("One.", "Two."), strict=True):
        turns = (Turn("system", (Text("repeat"),)), Turn("human", (Text(sentence),)))
        assert request.prompt == tuple(BUILDER.chat(turns))
        assert request.form == "speech"


async def test_a_question_is_tokenised_while_it_arrives() -> None:
    assistant = Assistant(services(ScriptedEngine([ANSWER])))
    question = assistant.question(24000)
    for _ in range(10):
        await assistant.listen(question, np.zeros(2400, dtype=np.float32))
    assert question.duration_ms == 1000
    assert (await assistant.finish(question)).groups == tuple(group(n) for n in range(9))


async def test_a_question_that_never_ends_is_refused() -> None:
    assistant = Assistant(services(ScriptedEngine([])), DialogSettings(max_question_s=0.5))
    question = assistant.question(24000)
    with pytest.raises(AudioError, match=r"0\.5 s"):
        await assistant.listen(question, np.zeros(24000, dtype=np.float32))
    assert question.duration_ms == 0


async def test_an_answer_stays_behind_its_question_when_the_user_goes_on() -> None:
    engine = ScriptedEngine([[*HEARD, 8, *text_ids("get_time {}")], ANSWER[len(HEARD) :]], hold=3)
    talk = asked()
    task = asyncio.create_task(collect(Assistant(services(engine)).answer(talk, answer_id="a")))
    await engine.started.wait()
    talk.add(UserAudio("q2", (group(8),)))
    engine.resume.set()
    await task
    kinds = [type(item) for item in talk]
    assert kinds == [UserAudio, Called, Returned, Answer, UserAudio]
    assert talk.get("q") == UserAudio("q", QUESTION.groups, "what time is it")
    assert talk.get("q2") == UserAudio("q2", (group(8),))
    assert VOCAB.ids([group(8)])[0] not in engine.requests[1].prompt[-60:]


async def test_an_answer_that_loops_is_ended_and_counted() -> None:
    endless = [*text_ids("well"), *VOCAB.ids([GROUPS[0]] * 300)]
    engine = ScriptedEngine([endless])
    made, usage = services(engine), Usage()
    events = await collect(Assistant(made).answer(asked(), usage=usage))
    assert words(events) == "well"
    assert samples(events) <= 40 * 960
    assert engine.aborted == [engine.requests[0].request_id]
    recorder = made.recorder
    assert isinstance(recorder, MemoryRecorder)
    assert [name for name, _ in recorder.seen if name.startswith("answers_ended")] in (
        ["answers_ended.audio_loop"],
        ["answers_ended.audio_runs_on"],
    )
    assert usage.input_audio == 5
    assert usage.input_text == len(engine.requests[0].prompt) - 5
    assert (usage.output_text, usage.output_audio % 5) == (4, 0)


async def test_reading_aloud_waits_behind_conversations() -> None:
    engine = ScriptedEngine([VOCAB.ids(GROUPS)])
    assistant = Assistant(services(engine))
    await collect(assistant.answer(asked(), session="s"))
    async for _ in assistant.say("One."):
        pass
    talk, reading = engine.requests
    assert talk.priority < reading.priority
