"""Calls of server-side tools during an answer: side by side, bridged, late, cut off."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from step_audio.core import toolformat
from step_audio.core.ports import ToolSpec
from step_audio.core.types import AudioChunk, ToolCall, ToolResult, Transcript
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import (
    Answer,
    Called,
    Conversation,
    MultiPartMessage,
    Returned,
    SpokenPart,
    UserAudio,
    WrittenPart,
    language_of,
)
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.response.pipeline import AnswerEvent
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.tool_calls.background import (
    BackgroundCalls,
    BackgroundCallSettings,
    LateResult,
    note,
)
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids

TWO_CALLS = [8, *text_ids("look {}"), 8, *text_ids("listen {}")]
ONE_CALL = [8, *text_ids("look {}")]
ANSWER = interleave(text_ids("A bird."), [group(1)] * 2, VOCAB)
BRIDGE = VOCAB.ids([group(7)])


class GatedTools:
    """Each tool answers when its gate opens."""

    def __init__(self) -> None:
        self.gates = {"look": asyncio.Event(), "listen": asyncio.Event()}
        self.running: list[str] = []
        self.both = asyncio.Event()
        self.any = asyncio.Event()

    def specs(self) -> Sequence[ToolSpec]:
        return ()

    async def call(self, call: ToolCall) -> ToolResult:
        self.running.append(call.name)
        self.any.set()
        if len(self.running) == 2:
            self.both.set()
        await self.gates[call.name].wait()
        return ToolResult(call.call_id, call.name, f'{{"{call.name}":"bird"}}')


class Bench:
    """One conversation with a spoken question, its tools and its errands."""

    def __init__(self, *scripts: list[int], settings: BackgroundCallSettings | None = None) -> None:
        self.engine = ScriptedEngine(scripts)
        self.tools = GatedTools()
        parts = replace(services(self.engine), tools=self.tools)
        self.assistant = Assistant(
            parts,
            DialogSettings(
                background_calls=settings or BackgroundCallSettings(bridge="", wait_s=None)
            ),
        )
        self.news = asyncio.Event()
        self.background_calls: BackgroundCalls = self.assistant.background_calls(self.news.set)
        self.talk = Conversation()
        self.talk.add(UserAudio("q", (group(7),)))

    def answer(self) -> AsyncGenerator[AnswerEvent, None]:
        return self.assistant.answer(
            self.talk, answer_id="a", background_calls=self.background_calls
        )

    def kinds(self) -> list[type]:
        return [type(item) for item in self.talk]


def words(events: list[AnswerEvent]) -> str:
    return "".join(getattr(event, "text", "") for event in events)


async def test_several_calls_run_side_by_side_and_are_all_answered() -> None:
    bench = Bench(TWO_CALLS, ANSWER)
    done = asyncio.create_task(collect(bench.answer()))
    await asyncio.wait_for(bench.tools.both.wait(), 5)
    bench.tools.gates["listen"].set()
    bench.tools.gates["look"].set()
    events = await done
    results = [event for event in events if isinstance(event, ToolResult)]
    assert [result.name for result in results] == ["look", "listen"]
    assert bench.kinds() == [UserAudio, Called, Called, Returned, Returned, Answer]
    assert words(events) == "A bird."


async def collect(events: AsyncGenerator[AnswerEvent, None]) -> list[AnswerEvent]:
    return [event async for event in events]


async def test_a_long_call_is_bridged_aloud_and_the_model_does_not_see_the_bridge() -> None:
    settings = BackgroundCallSettings("One moment.", bridge_after_s=0.0, wait_s=None)
    bench = Bench(ONE_CALL, BRIDGE, ANSWER, settings=settings)
    events: list[AnswerEvent] = []
    async with aclosing(bench.answer()) as answer:
        async for event in answer:
            events.append(event)
            if isinstance(event, AudioChunk):
                bench.tools.gates["look"].set()
    assert words(events) == "One moment. A bird."
    assert sum(isinstance(event, AudioChunk) for event in events) == 3
    assert bench.kinds() == [UserAudio, Called, Returned, Answer]
    said = bench.talk.get("a")
    assert isinstance(said, Answer)
    assert (said.text, len(said.groups)) == ("One moment. A bird.", 3)
    assert not any(id_ == text_ids("m")[0] for id_ in bench.engine.requests[2].prompt[-20:])


@pytest.mark.parametrize(
    ("heard", "bridge"),
    [
        (Transcript("几点了"), "请稍等。"),
        (Transcript("いま何時"), "少々お待ちください。"),
        (Transcript("what time is it"), "One moment."),
        (Transcript("wie spät ist es", "de"), "Moment."),  # as the recognizer heard it
        (Transcript("東京", "ja"), "少々お待ちください。"),  # no kana tells that
    ],
)
async def test_the_bridge_is_in_the_language_of_the_conversation(
    heard: Transcript, bridge: str
) -> None:
    bridges = {"zh": "请稍等。", "ja": "少々お待ちください。", "de": "Moment."}
    settings = BackgroundCallSettings("One moment.", 0.0, None, bridges)
    bench = Bench(ONE_CALL, BRIDGE, ANSWER, settings=settings)
    bench.talk.transcribe("q", heard)
    events: list[AnswerEvent] = []
    async with aclosing(bench.answer()) as answer:
        async for event in answer:
            events.append(event)
            if isinstance(event, AudioChunk):
                bench.tools.gates["look"].set()
    assert words(events) == f"{bridge} A bird."
    assert (
        bytes(i - 300 for i in bench.engine.requests[1].prompt if i >= 300).decode().count(bridge)
    )


def test_the_language_of_an_answer_in_latin_letters_is_that_of_the_question() -> None:
    question = UserAudio("q", (), "wie spät ist es", "de")
    assert language_of([question, Answer("a", "Moment")]) == "de"
    assert language_of([Answer("a", "Moment")]) == "en"
    assert language_of([question, Answer("a", "几点了")]) == "zh"
    parts = (WrittenPart("Listen:"), SpokenPart((), "quelle heure", language="fr"))
    assert language_of([MultiPartMessage("m", "human", parts)]) == "fr"
    assert language_of([]) is None


async def test_a_call_that_takes_too_long_is_told_later_at_the_end() -> None:
    settings = BackgroundCallSettings("One moment.", bridge_after_s=0.0, wait_s=0.0)
    bench = Bench(ONE_CALL, BRIDGE, ANSWER, settings=settings)
    events = await collect(bench.answer())
    assert words(events) == "One moment. "
    assert bench.kinds() == [UserAudio, Answer]  # no call without a result in the books
    bench.talk.add(UserAudio("q2", (group(8),)))
    bench.tools.gates["look"].set()
    await asyncio.wait_for(bench.news.wait(), 5)
    news = bench.background_calls.take()
    assert isinstance(news, LateResult)
    assert note(news, bench.talk) is None
    assert bench.kinds() == [UserAudio, Answer, UserAudio, Called, Returned]
    late = bench.assistant.answer(
        bench.talk, answer_id="b", background_calls=bench.background_calls
    )
    assert words(await collect(late)) == "A bird."


async def test_of_two_calls_the_one_in_time_is_answered_now() -> None:
    settings = BackgroundCallSettings("", wait_s=0.05)
    bench = Bench(TWO_CALLS, ANSWER, settings=settings)
    bench.tools.gates["look"].set()
    events = await collect(bench.answer())
    assert words(events) == "A bird."
    assert bench.kinds() == [UserAudio, Called, Returned, Answer]
    assert bench.background_calls.open == 1
    await bench.background_calls.close()


async def test_an_interruption_loses_no_result() -> None:
    bench = Bench(ONE_CALL, ANSWER)

    async def run() -> None:
        await collect(bench.answer())

    task = asyncio.create_task(run())
    await asyncio.wait_for(bench.tools.any.wait(), 5)
    task.cancel()
    await asyncio.wait([task])
    assert bench.kinds() == [UserAudio]
    bench.tools.gates["look"].set()
    await asyncio.wait_for(bench.news.wait(), 5)
    assert isinstance(bench.background_calls.take(), LateResult)


async def test_without_a_session_a_call_is_waited_for() -> None:
    bench = Bench(ONE_CALL, ANSWER, settings=BackgroundCallSettings("Wait.", 0.0, 0.0))
    events = asyncio.create_task(collect(bench.assistant.answer(bench.talk)))
    await asyncio.wait_for(bench.tools.any.wait(), 5)
    bench.tools.gates["look"].set()
    assert words(await events) == "A bird."


async def test_a_server_tool_beside_a_clients_is_answered_before_the_client_is_waited_for() -> None:
    bench = Bench([8, *text_ids("look {}"), 8, *text_ids("door {}")], ANSWER)
    bench.tools.gates["look"].set()
    answer = bench.assistant.answer(
        bench.talk, client_tools=[ToolSpec("door", "", {})], background_calls=bench.background_calls
    )
    events = await collect(answer)
    assert [type(event) for event in events] == [ToolCall, ToolCall, ToolResult]
    assert bench.kinds() == [UserAudio, Called, Called, Returned]


async def test_nano_reads_a_failure_as_it_was_trained() -> None:
    bench = Bench([8, *text_ids("nonsense {}")], ANSWER)
    bench.tools.gates = {}
    parts = services(bench.engine)  # its tools refuse what they do not know
    assistant = Assistant(parts)
    events = await collect(assistant.answer(bench.talk))
    assert [e.output for e in events if isinstance(e, ToolResult)] == [toolformat.FAILED]
