"""Recorded-style conversations over the socket, against scripted services."""

import time

from server.observability.metrics import Metrics
from step_audio.core.errors import EngineError
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import URL, Talk, kinds, sound, talking

HEARD = [6, *text_ids("what time is it"), 7]
ANSWER = [*HEARD, *interleave(text_ids("It is noon."), [group(n) for n in range(4)], VOCAB)]


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
