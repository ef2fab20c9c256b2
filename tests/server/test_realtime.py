"""Recorded-style conversations over the socket, against scripted services."""

import time
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from server.limits import ServerSettings
from server.pace import PaceLimits
from server.sight.metrics import Metrics
from step_audio.core.errors import EngineError
from step_audio.core.keys import Keyring
from step_audio.dialog.packing import interleave
from step_audio.dialog.session import DialogSettings
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import SECOND, URL, Event, Talk, kinds, sound, talking

HEARD = [6, *text_ids("what time is it"), 7]
ANSWER = [*HEARD, *interleave(text_ids("It is noon."), [group(n) for n in range(4)], VOCAB)]


def refusal(client: TestClient, **options: Any) -> int:
    """Return the status with which an upgrade is refused."""
    try:
        with client.websocket_connect(URL, **options):
            return 101
    except WebSocketDenialResponse as denied:
        return denied.status_code


def test_the_session_is_shown_at_once_and_truthfully(connect: Connect) -> None:
    with connect().websocket_connect(URL) as socket:
        event = Talk(socket).next()
    session = event["session"]
    assert session["type"] == "realtime"
    assert session["object"] == "realtime.session"
    assert session["model"] == "fake"
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["output"]["voice"] == "rms"


def test_one_spoken_turn_in_the_documented_order(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.send("session.update", session={"audio": {"input": {"transcription": {"model": "x"}}}})
        assert talk.next()["session"]["audio"]["input"]["transcription"] == {"model": "x"}
        question = talk.ask()
        talk.send("response.create", response={"metadata": {"client_event_id": "7"}})
        events = talk.until("response.done")
    delta, heard = (e for e in events if "transcription" in e["type"])
    assert delta["type"] == "conversation.item.input_audio_transcription.delta"
    assert delta["delta"] == heard["transcript"]
    assert heard["type"] == "conversation.item.input_audio_transcription.completed"
    assert (heard["item_id"], heard["transcript"]) == (question, "what time is it")
    assert heard["usage"] == {"type": "duration", "seconds": 1.0}
    events.remove(heard)
    events.remove(delta)
    found = kinds(events)
    deltas = {"response.output_audio.delta", "response.output_audio_transcript.delta"}
    assert set(found[4:6]) == deltas
    assert found[:4] + found[6:] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    first, last = events[0]["response"], events[-1]["response"]
    assert first["metadata"] == last["metadata"] == {"client_event_id": "7"}
    assert (first["status"], last["status"]) == ("in_progress", "completed")
    assert last["output"][0]["content"] == [{"type": "output_audio", "transcript": "It is noon."}]
    assert sound(events) == 4 * 960 * 3
    added = next(e for e in events if e["type"] == "conversation.item.added")
    assert added["previous_item_id"] == question
    for event in events[1:-1]:
        if event["type"].startswith("response."):
            assert event["response_id"] == first["id"]
        if "delta" in event:
            assert event["item_id"] == last["output"][0]["id"]
            assert (event["output_index"], event["content_index"]) == (0, 0)


def test_no_transcript_is_sent_to_who_did_not_ask_for_it(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        question = talk.ask()
        talk.send("response.create")
        assert not [e for e in talk.until("response.done") if "transcription" in e["type"]]
        talk.send("conversation.item.retrieve", item_id=question)
        content = talk.next()["item"]["content"]
    assert content == [{"type": "input_audio", "transcript": "what time is it"}]


def test_a_typed_question_is_answered_in_text(connect: Connect) -> None:
    engine = ScriptedEngine([text_ids("Noon.")])
    with talking(connect(engine=engine)) as talk:
        message = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "time?"}],
        }
        talk.send("conversation.item.create", item={"id": "mine", **message})
        assert [talk.next()["item"]["id"] for _ in range(2)] == ["mine", "mine"]
        talk.send("response.create", response={"output_modalities": ["text"]})
        events = talk.until("response.done")
    assert kinds(events)[3:-3] == [
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
    ]
    assert "".join(e["delta"] for e in events if "delta" in e) == "Noon."
    assert b"time?" in bytes(i - 300 for i in engine.requests[0].prompt if i >= 300)


def test_a_server_tool_is_not_shown_to_the_client(connect: Connect) -> None:
    call = [*HEARD, 8, *text_ids("get_time {}")]
    with talking(connect([call, ANSWER[len(HEARD) :]])) as talk:
        question = talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
    assert not [e for e in events if "function_call" in e["type"]]
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message"]
    added = next(e for e in events if e["type"] == "conversation.item.added")
    assert added["previous_item_id"] == question


def test_a_clients_tool_is_called_and_its_output_answered(connect: Connect) -> None:
    call = [8, *text_ids('open_door {"which":"front"}')]
    tool = {"type": "function", "name": "open_door", "parameters": {}}
    with talking(connect([call, text_ids("Done.")])) as talk:
        talk.send("session.update", session={"tools": [tool]})
        assert talk.next()["session"]["tools"][0]["name"] == "open_door"
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
        assert kinds(events) == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        made = events[-1]["response"]["output"][0]
        assert (made["name"], made["arguments"]) == ("open_door", '{"which":"front"}')
        output = {"type": "function_call_output", "call_id": made["call_id"], "output": '"ok"'}
        talk.send("conversation.item.create", item=output)
        assert talk.next()["previous_item_id"] == made["id"]
        talk.next()
        talk.send("response.create")
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
        unknown = {**output, "call_id": "call_x"}
        assert talk.error("conversation.item.create", item=unknown)["code"] == "invalid_call_id"


def test_a_response_can_be_cancelled_and_another_follows(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER], hold=len(HEARD) + 4)
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("response.create")
        talk.until("response.output_audio_transcript.delta")
        refused = talk.error("response.create")
        assert refused["code"] == "conversation_already_has_active_response"
        talk.send("response.cancel")
        events = talk.until("response.done")
        assert events[-1]["response"]["status"] == "cancelled"
        assert events[-1]["response"]["status_details"]["reason"] == "client_cancelled"
        assert [
            e["item"]["status"] for e in events if e["type"] == "response.output_item.done"
        ] == ["incomplete"]
        assert engine.aborted == [engine.requests[0].request_id]
        again = talk.error("response.cancel")
        assert again["code"] == "response_cancel_not_active"
        assert again["message"].startswith("Cancellation failed")
        engine.hold = None
        talk.ask()
        talk.send("response.create")
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


def test_a_failed_response_says_so_and_the_session_goes_on(connect: Connect) -> None:
    engine = ScriptedEngine([text_ids("It")], error=EngineError("no memory"))
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("response.create")
        done = talk.until("response.done")[-1]["response"]
        assert done["status"] == "failed"
        assert done["status_details"]["error"]["code"] == "engine_failed"
        engine.error = None
        talk.send("response.create")
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"


def test_an_answer_can_be_truncated_retrieved_and_deleted(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.ask()
        talk.send("response.create")
        answer = talk.until("response.done")[-1]["response"]["output"][0]["id"]
        talk.send("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=99999)
        assert talk.next()["type"] == "conversation.item.truncated"
        talk.send("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=240)
        talk.next()
        talk.send("conversation.item.retrieve", item_id=answer)
        assert talk.next()["item"]["content"] == [{"type": "output_audio", "transcript": "It is"}]
        talk.send("conversation.item.delete", item_id=answer)
        assert talk.next() | {"event_id": 0} == {
            "event_id": 0,
            "type": "conversation.item.deleted",
            "item_id": answer,
        }
        missing = talk.error("conversation.item.retrieve", item_id=answer)
        assert missing["code"] == "item_retrieve_invalid_item_id"


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
        ("session.update", {"session": {"type": "transcription"}}, "session.type"),
        (
            "session.update",
            {"session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}},
            "session.audio.input.format.rate",
        ),
        ("input_audio_buffer.append", {"audio": "!!!"}, "audio"),
        ("input_audio_buffer.append", {"audio": "QUJD"}, None),  # 3 bytes
        ("input_audio_buffer.append", {"audio": 5}, "audio"),
        ("input_audio_buffer.commit", {}, None),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "user", "content": []}},
            None,
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
        with pytest.raises(WebSocketDisconnect) as closed:
            talk.next()
    assert closed.value.code == 1009


def test_leaving_aborts_the_engine(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER], hold=len(HEARD) + 4)
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("response.create")
        talk.until("response.output_audio_transcript.delta")
    deadline = time.monotonic() + 5
    while not engine.aborted and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.aborted == [engine.requests[0].request_id]


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [
        (None, True),
        ("http://localhost", True),
        ("http://evil.example", False),
        ("null", False),
        ("http://localhost:9999", False),
        ("http://[", False),
    ],
)
def test_only_our_own_page_may_open_a_socket(
    connect: Connect, origin: str | None, let_in: bool
) -> None:
    headers = {} if origin is None else {"origin": origin}
    client = connect()
    if let_in:
        with client.websocket_connect(URL, headers=headers) as socket:
            assert socket.receive_json()["type"] == "session.created"
    else:
        assert refusal(client, headers=headers) == 403


def test_a_key_may_come_as_a_subprotocol_that_is_never_echoed(connect: Connect) -> None:
    client = connect(settings=ServerSettings(keys=Keyring({}, "s3cret"), hosts=frozenset()))
    offered = ["realtime", "openai-insecure-api-key.s3cret"]
    with client.websocket_connect(URL, subprotocols=offered) as socket:
        assert str(socket.accepted_subprotocol) == "realtime"
    assert refusal(client, subprotocols=["realtime"]) == 401


def test_a_full_server_refuses_the_upgrade_until_somebody_leaves(connect: Connect) -> None:
    client = connect(settings=ServerSettings(max_sessions=1))
    with talking(client):
        assert refusal(client) == 503
    with talking(client):
        pass


def test_a_flood_is_slowed_then_sent_away_and_the_neighbour_is_served(connect: Connect) -> None:
    pace = PaceLimits(messages_per_s=1, messages_burst=10, patience_s=0.5)
    metrics = Metrics()
    client = connect([ANSWER], settings=ServerSettings(pace=pace), metrics=metrics)
    with talking(client) as neighbour:
        with talking(client) as flood:
            for _ in range(20):
                flood.send("input_audio_buffer.clear")
            with pytest.raises(WebSocketDisconnect) as closed:
                flood.until("never")
        assert closed.value.code == 1008
        neighbour.ask()
        neighbour.send("response.create")
        assert neighbour.until("response.done")[-1]["response"]["status"] == "completed"
    assert b'guard_stops_total{reason="flood"} 1.0' in metrics.text()


def test_a_turn_is_measured(connect: Connect) -> None:
    metrics = Metrics()
    with talking(connect([ANSWER], metrics=metrics)) as talk:
        talk.ask()
        talk.send("response.create")
        talk.until("response.done")
        assert b"step_audio_sessions 1.0" in metrics.text()
    shown = metrics.text()
    assert b'step_audio_turns_total{status="completed"} 1.0' in shown
    assert b"step_audio_turn_first_audio_seconds_count 1.0" in shown


def test_a_machine_that_showed_itself_full_says_try_later(connect: Connect) -> None:
    metrics = Metrics()
    settings = ServerSettings(max_sessions=100, measured=True)
    client = connect([ANSWER], settings=settings, metrics=metrics)
    house = client.app.state.admission  # type: ignore[attr-defined]
    with talking(client):
        house.answered(0.9, dry=False, sessions=2, now_s=time.monotonic())
        assert refusal(client) == 503
        assert b"step_audio_session_limit 1.0" in metrics.text()
    assert refusal(client) == 101
