"""What is wrong in a client's events is answered, and the session goes on."""

import pytest
from starlette.websockets import WebSocketDisconnect

from server.admission.limits import ServerSettings
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import SECOND, Event, talking

HEARD = [6, *text_ids("what time is it"), 7]
ANSWER = [*HEARD, *interleave(text_ids("It is noon."), [group(n) for n in range(4)], VOCAB)]


def test_updates_are_merged_and_a_refused_one_changes_nothing(connect: Connect) -> None:
    with talking(connect()) as talk:
        talk.send("session.update", session={"type": "realtime", "instructions": "be brief"})
        talk.next()
        talk.send("session.update", session={"audio": {"output": {"voice": "slt"}}})
        session = talk.next()["session"]
        assert (session["instructions"], session["audio"]["output"]["voice"]) == ("be brief", "slt")
        wrong = {"instructions": "x", "audio": {"output": {"voice": "nobody"}}}
        assert talk.error("session.update", session=wrong)["code"] == "voice_not_found"
        detection = {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
        talk.send("session.update", session=detection)
        session = talk.next()["session"]
        assert session["instructions"] == "be brief"
        assert session["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("nonsense", {}, "type"),
        ("session.update", {}, "session"),
        ("session.update", {"session": {"output_modalities": ["smell"]}}, None),
        (
            "session.update",
            {"session": {"audio": {"output": {"speed": 20}}}},
            "session.audio.output.speed",
        ),
        ("session.update", {"session": {"type": "monologue"}}, "session.type"),
        (
            "session.update",
            {"session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}},
            "session.audio.input.format.rate",
        ),
        ("input_audio_buffer.append", {"audio": "!!!"}, "audio"),
        ("input_audio_buffer.append", {"audio": "QUJDR"}, "audio"),
        ("input_audio_buffer.append", {"audio": 5}, "audio"),
        ("input_audio_buffer.commit", {}, None),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "user", "content": [{"type": "input_image"}]}},
            "item.content.0.type",
        ),
        ("conversation.item.create", {"item": {"type": "other"}}, "item"),
        (
            "conversation.item.truncate",
            {"item_id": "x", "content_index": 0, "audio_end_ms": 1},
            None,
        ),
        (
            "conversation.item.truncate",
            {"item_id": "x", "content_index": 0, "audio_end_ms": -1},
            None,
        ),
        ("conversation.item.delete", {"item_id": "x"}, None),
        (
            "response.create",
            {"response": {"input": [{"type": "item_reference", "id": "x"}]}},
            None,
        ),
        ("response.create", {"response": {"max_output_tokens": 0}}, None),
    ],
)
def test_wrong_events_are_answered_and_the_session_goes_on(
    connect: Connect, kind: str, fields: Event, param: str | None
) -> None:
    with talking(connect()) as talk:
        error = talk.error(kind, **fields)
        assert error["type"] == "invalid_request_error"
        if param is not None:
            assert error["param"] == param
        talk.send("input_audio_buffer.clear")
        assert talk.next()["type"] == "input_audio_buffer.cleared"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', "null", '{"type": NaN}', "[" * 100_000, '{"type": ["a"]}', "1e999"],
)
def test_messages_that_are_no_events_are_answered(connect: Connect, text: str) -> None:
    with talking(connect()) as talk:
        talk.socket.send_text(text)
        assert talk.next()["type"] == "error"
        talk.socket.send_bytes(b"\x00\x01")
        assert "text messages" in talk.next()["error"]["message"]


def test_half_a_surrogate_pair_cannot_break_the_session(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.socket.send_text('{"type": "x\\ud800", "event_id": "\\ud800"}')
        assert talk.next()["error"]["event_id"] == "\ud800"
        part = '{"type": "input_text", "text": "\\ud800"}'
        item = f'{{"type": "message", "role": "user", "content": [{part}]}}'
        talk.socket.send_text(f'{{"type": "conversation.item.create", "item": {item}}}')
        assert talk.next()["type"] == "error"
        talk.ask()
        metadata = '{"metadata": {"a": "\\ud800"}}'
        talk.socket.send_text(f'{{"type": "response.create", "response": {metadata}}}')
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


def test_a_question_that_is_too_long_is_refused_and_can_be_cleared(connect: Connect) -> None:
    with talking(connect([ANSWER], dialog=DialogSettings(max_question_s=1.5))) as talk:
        talk.send("input_audio_buffer.append", audio=SECOND)
        assert "1.5 s" in talk.error("input_audio_buffer.append", audio=SECOND)["message"]
        talk.send("input_audio_buffer.clear")
        talk.next()
        talk.ask()


def test_an_oversized_message_closes_the_socket(connect: Connect) -> None:
    settings = ServerSettings(max_message_bytes=1000)
    with talking(connect(settings=settings)) as talk:
        talk.socket.send_text("x" * 2000)
        assert talk.next()["error"]["code"] == "message_too_large"
        with pytest.raises(WebSocketDisconnect) as closed:
            talk.next()
    assert closed.value.code == 1009
