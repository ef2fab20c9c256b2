"""The cascade: one engine writes, the other speaks, the conversation knows what was heard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from step_audio.core.errors import InputError
from step_audio.core.types import BATCH, LIVE, AudioChunk, TextDelta, ToolCall
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Answer, Conversation, Typed
from step_audio.dialog.prompting.messages import messages
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, ScriptedEngine, group, services, text_ids

EOT = VOCAB.eot
TEXT = " It is noon.  Go to lunch."


def assistant(writer: ScriptedEngine, reader: ScriptedEngine) -> Assistant:
    parts = replace(services(writer), speech_engine=reader)
    return Assistant(parts, DialogSettings(responder="cascade"))


def reader_of(*counts: int) -> ScriptedEngine:
    return ScriptedEngine([VOCAB.ids([group(n) for n in range(count)]) for count in counts])


def asked() -> Conversation:
    conversation = Conversation()
    conversation.add(Typed("q", "human", "what now"))
    return conversation


async def test_each_sentence_is_shown_when_its_speech_begins() -> None:
    writer, reader = ScriptedEngine([text_ids(TEXT)]), reader_of(2, 3)
    conversation = asked()
    events = [e async for e in assistant(writer, reader).answer(conversation, answer_id="a")]
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert texts == [" It is noon.", "  Go to lunch."]
    seconds = sum(len(e.pcm) / e.rate_hz for e in events if isinstance(e, AudioChunk))
    assert seconds == pytest.approx(5 * 0.12)
    answer = conversation.get("a")
    assert isinstance(answer, Answer)
    assert (answer.text, len(answer.groups)) == (TEXT, 5)
    answer.truncate(360)
    assert answer.text.strip() == "It is noon.  Go", "a share of the sentence that was being read"
    answer.truncate(240)
    assert answer.text.strip() == "It is noon.", "a sentence whose sound was heard to its end"
    answer.truncate(120)
    assert answer.text.strip() == "It is"


async def test_the_writer_writes_text_and_the_reader_reads_at_once() -> None:
    writer, reader = ScriptedEngine([text_ids(TEXT)]), reader_of(1)
    helper = assistant(writer, reader)
    async for _ in helper.answer(asked()):
        pass
    assert [r.form for r in writer.requests] == ["text"]
    assert [(r.form, r.priority) for r in reader.requests] == [("speech", LIVE)] * 2
    assert len({r.session for r in reader.requests}) == 1
    async for _ in helper.say("Read this."):
        pass
    assert reader.requests[-1].priority == BATCH


async def test_without_sound_nothing_is_read() -> None:
    writer, reader = ScriptedEngine([text_ids(TEXT)]), reader_of(1)
    events = [e async for e in assistant(writer, reader).answer(asked(), aloud=False)]
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == TEXT
    assert not reader.requests


async def test_a_tool_is_called_after_what_was_said_before_it() -> None:
    call = [*text_ids("Let me see"), VOCAB.call or 0, *text_ids("get_time {}")]
    writer = ScriptedEngine([call, text_ids("It is noon.")])
    reader = reader_of(1)
    events = [e async for e in assistant(writer, reader).answer(asked())]
    kinds = [type(e).__name__ for e in events if not isinstance(e, AudioChunk)]
    assert kinds == ["TextDelta", "ToolCall", "ToolResult", "TextDelta"]
    assert any(isinstance(e, ToolCall) for e in events)


async def test_stopping_stops_both_engines() -> None:
    writer = ScriptedEngine([text_ids(TEXT)])
    reader = ScriptedEngine([VOCAB.ids([group(1)] * 9)], hold=20)
    answer = assistant(writer, reader).answer(asked())
    async for event in answer:
        if isinstance(event, AudioChunk):
            break
    await answer.aclose()
    assert writer.aborted
    assert reader.aborted


async def test_a_deployment_that_only_reads_says_so() -> None:
    only = Assistant(services(reader_of(1)), DialogSettings(responder="speech"))
    with pytest.raises(InputError, match="/v1/audio/speech"):
        async for _ in only.answer(asked()):
            pass
    assert [chunk async for chunk in only.say("Hello.")]


TAGGED = "（快速）(happy) It is noon. (sad) Go to lunch."


@pytest.mark.parametrize("aloud", [True, False])
async def test_the_tags_that_the_writer_wrote_stay_in_its_history_alone(*, aloud: bool) -> None:
    writer, reader = ScriptedEngine([text_ids(TAGGED)]), reader_of(2, 3)
    helper, conversation = assistant(writer, reader), asked()
    events = [e async for e in helper.answer(conversation, answer_id="a", aloud=aloud)]
    answer = conversation.get("a")
    assert isinstance(answer, Answer)
    shown = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert shown == answer.text == "It is noon. Go to lunch."
    assert answer.as_written == TAGGED
    assert messages(conversation, "")[-1].text == TAGGED
    assert not any(holds(request.prompt, "(sad)") for request in reader.requests)
    conversation.add(Typed("q2", "human", "and then"))
    async for _ in helper.answer(conversation):
        pass
    assert holds(writer.requests[-1].prompt, TAGGED)


async def test_tags_of_what_nobody_heard_leave_the_history_with_it() -> None:
    writer, reader = ScriptedEngine([text_ids(TAGGED)]), reader_of(2, 3)
    conversation = asked()
    async for _ in assistant(writer, reader).answer(conversation, answer_id="a"):
        pass
    answer = conversation.get("a")
    assert isinstance(answer, Answer)
    answer.truncate(240)
    assert answer.as_written == "（快速）(happy) It is noon."
    assert answer.go_on("b").as_written.strip() == "(sad) Go to lunch."


async def test_tags_behind_a_tool_call_stay_too() -> None:
    call = [*text_ids("(slow)Let me see"), VOCAB.call or 0, *text_ids("get_time {}")]
    writer = ScriptedEngine([call, text_ids("(happy)It is noon.")])
    conversation = asked()
    async for _ in assistant(writer, reader_of(1)).answer(conversation, answer_id="a"):
        pass
    answer = conversation.get("a")
    assert isinstance(answer, Answer)
    assert answer.as_written == "(slow)Let me see (happy)It is noon."


def holds(prompt: tuple[int, ...], text: str) -> bool:
    wanted = tuple(text_ids(text))
    return any(prompt[at : at + len(wanted)] == wanted for at in range(len(prompt)))
