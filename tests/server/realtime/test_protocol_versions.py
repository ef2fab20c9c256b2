"""The other dialects of the protocol, event by event, over the socket."""

import base64
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from server.realtime.wire.versions.beta import Beta
from server.realtime.wire.versions.settings_keys import nested
from step_audio.core.g711 import encode
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import SECOND, URL, Event, Talk, kinds, talking
from tokenizer.vad import EnergyTurnDetector

HEARD = [6, *text_ids("what time is it"), 7]
ANSWER = [*HEARD, *interleave(text_ids("It is noon."), [group(n) for n in range(4)], VOCAB)]
MARK = {"openai-beta": "realtime=v1"}


def beta(
    connect: Connect, scripts: Any = (ANSWER,), **options: Any
) -> AbstractContextManager[Talk]:
    return talking(connect(scripts, **options), headers=MARK)


def test_a_marked_connection_is_flat_from_the_first_event_on(connect: Connect) -> None:
    client = connect(detector=EnergyTurnDetector())
    for options in ({"headers": MARK}, {"subprotocols": ["realtime", "openai-beta.realtime-v1"]}):
        with client.websocket_connect(URL, **options) as socket:
            session = socket.receive_json()["session"]
            assert session["modalities"] == ["text", "audio"]
            assert session["voice"] == "rms"
            assert (session["input_audio_format"], session["output_audio_format"]) == (
                "pcm16",
                "pcm16",
            )
            assert session["turn_detection"]["type"] == "server_vad"
            assert session["max_response_output_tokens"] == "inf"
            assert not {"audio", "type", "output_modalities"} & set(session)


def test_an_unmarked_flat_update_decides_for_beta(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        flat = {"modalities": ["text", "audio"], "voice": "slt", "turn_detection": None}
        tool = {"type": "function", "function": {"name": "open_door", "parameters": {}}}
        talk.send("session.update", session={**flat, "tools": [tool]})
        session = talk.next()["session"]
        assert (session["voice"], session["tools"][0]["name"]) == ("slt", "open_door")
        talk.send("input_audio_buffer.append", audio=SECOND)
        talk.send("input_audio_buffer.commit")
        talk.send("response.create")
        assert "response.audio.delta" in kinds(talk.until("response.done"))


def test_a_first_update_of_the_new_shape_decides_for_it(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.send("session.update", session={"type": "realtime"})
        talk.next()
        talk.send("session.update", session={"voice": "slt"})
        assert talk.next()["session"]["audio"]["output"]["voice"] == "slt"


def test_one_spoken_turn_in_beta(connect: Connect) -> None:
    with beta(connect) as talk:
        talk.send("input_audio_buffer.append", audio=SECOND)
        talk.send("input_audio_buffer.commit")
        committed, created = talk.next(), talk.next()
        assert committed["type"] == "input_audio_buffer.committed"
        assert created["type"] == "conversation.item.created"
        assert created["item"]["id"] == committed["item_id"]
        talk.send("response.create", response={"modalities": ["audio", "text"]})
        events = talk.until("response.done")
    found = kinds(events)
    assert set(found[4:6]) == {"response.audio.delta", "response.audio_transcript.delta"}
    assert found[:4] + found[6:] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    done = events[-1]["response"]
    assert done["modalities"] == ["text", "audio"]
    assert (done["voice"], done["output_audio_format"]) == ("rms", "pcm16")
    assert done["output"][0]["content"] == [{"type": "audio", "transcript": "It is noon."}]


def test_beta_in_text_and_with_a_call(connect: Connect) -> None:
    call = [8, *text_ids('open_door {"which":"front"}')]
    with beta(connect, [text_ids("Noon."), call]) as talk:
        part = {"type": "input_text", "text": "time?"}
        item = {"type": "message", "role": "user", "content": [part]}
        talk.send("conversation.item.create", item=item)
        assert talk.next()["type"] == "conversation.item.created"
        talk.send("response.create", response={"modalities": ["text"]})
        events = talk.until("response.done")
        assert "response.text.delta" in kinds(events)
        assert events[-1]["response"]["output"][0]["content"] == [{"type": "text", "text": "Noon."}]
        talk.send("session.update", session={"tools": [{"type": "function", "name": "open_door"}]})
        talk.until("session.updated")
        talk.send("response.create")
        events = talk.until("response.done")
        deltas = [e["delta"] for e in events if e["type"].endswith("arguments.delta")]
        assert "".join(deltas) == '{"which":"front"}'


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"input_audio_format": "mp3"}, "session.input_audio_format"),
        ({"modalities": ["smell"]}, "session.modalities.0"),
        ({"turn_detection": {"threshold": 7}}, "session.turn_detection.threshold"),
        ({"max_response_output_tokens": 0}, "session.max_response_output_tokens"),
        ({"voice": 5}, "session.voice"),
    ],
)
def test_errors_name_the_clients_own_fields(connect: Connect, session: Event, param: str) -> None:
    with beta(connect, detector=EnergyTurnDetector()) as talk:
        assert str(talk.error("session.update", session=session)["param"]) == param


def test_translation_leaves_its_argument_and_foreign_keys_alone() -> None:
    given = {"modalities": ["text"], "instructions": "x", "voice": None, "temperature": 0.8}
    before = dict(given)
    assert nested(given) == {
        "output_modalities": ["text"],
        "instructions": "x",
        "temperature": 0.8,
        "audio": {"output": {"voice": None}},
    }
    assert given == before
    odd = {"type": "session.update", "session": 5}
    assert Beta().inward(odd) == odd
    assert nested({"turn_detection": None}) == {"audio": {"input": {"turn_detection": None}}}


@pytest.mark.parametrize(("name", "law"), [("audio/pcmu", "ulaw"), ("audio/pcma", "alaw")])
def test_telephone_sound_both_ways(connect: Connect, name: str, law: Any) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connect(engine=engine)) as talk:
        sides = {side: {"format": {"type": name}} for side in ("input", "output")}
        talk.send("session.update", session={"audio": sides})
        shown = talk.next()["session"]["audio"]
        assert shown["input"]["format"] == shown["output"]["format"] == {"type": name}
        second = encode(np.full(8000, 0.1, np.float32), law)
        talk.send("input_audio_buffer.append", audio=base64.b64encode(second).decode())
        talk.send("input_audio_buffer.commit")
        talk.send("response.create")
        events = talk.until("response.done")
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    assert sum(len(base64.b64decode(delta)) for delta in deltas) == 4 * 960
    assert events[-1]["response"]["audio"]["output"]["format"] == {"type": name}


def test_a_faster_voice_is_shorter_and_truncation_knows_it(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.send("session.update", session={"audio": {"output": {"speed": 2.0}}})
        assert talk.next()["session"]["audio"]["output"]["speed"] == 2.0
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
        deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
        sound = sum(len(base64.b64decode(delta)) for delta in deltas)
        assert sound == pytest.approx(4 * 960 * 3, abs=64)
        answer = events[-1]["response"]["output"][0]["id"]
        talk.send("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=120)
        talk.next()
        talk.send("conversation.item.retrieve", item_id=answer)
        assert talk.next()["item"]["content"][0]["transcript"] == "It is"


def test_a_response_beside_the_conversation_leaves_it_alone(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER, text_ids("weather")], hold=len(HEARD) + 4)
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("response.create")
        first = talk.until("response.output_audio_transcript.delta")[0]["response"]["id"]
        part = {"type": "input_text", "text": "topic?"}
        item = {"type": "message", "role": "user", "content": [part]}
        wanted = {
            "conversation": "none",
            "input": [item],
            "output_modalities": ["text"],
            "metadata": {"topic": "classification"},
        }
        talk.send("response.create", response=wanted)
        created = talk.until("response.created")[-1]["response"]
        assert created["conversation_id"] is None
        assert created["metadata"] == {"topic": "classification"}
        engine.resume.set()
        done: dict[str, Event] = {}
        added: list[str] = []
        while len(done) < 2:
            event = talk.next()
            added += [event["item"]["id"]] if event["type"] == "conversation.item.done" else []
            if event["type"] == "response.done":
                done[event["response"]["id"]] = event["response"]
        assert {response["status"] for response in done.values()} == {"completed"}
        beside = done[created["id"]]["output"][0]
        assert beside["content"] == [{"type": "output_text", "text": "weather"}]
        assert [done[first]["output"][0]["id"]] == added
        missing = talk.error("conversation.item.retrieve", item_id=beside["id"])
        assert missing["code"] == "item_retrieve_invalid_item_id"
    assert b"topic?" in bytes(i - 300 for i in engine.requests[1].prompt if 300 <= i < 556)


def test_a_response_to_chosen_items_joins_the_conversation(connect: Connect) -> None:
    engine = ScriptedEngine([text_ids("Yes.")])
    with talking(connect(engine=engine)) as talk:
        for name in ("one", "two"):
            part = {"type": "input_text", "text": name}
            item = {"id": name, "type": "message", "role": "user", "content": [part]}
            talk.send("conversation.item.create", item=item)
            talk.until("conversation.item.done")
        wanted = {"input": [{"type": "item_reference", "id": "one"}], "output_modalities": ["text"]}
        talk.send("response.create", response=wanted)
        answer = talk.until("response.done")[-1]["response"]["output"][0]["id"]
        talk.send("conversation.item.retrieve", item_id=answer)
        assert talk.next()["item"]["content"][0]["text"] == "Yes."
    asked = bytes(i - 300 for i in engine.requests[0].prompt if 300 <= i < 556)
    assert b"one" in asked
    assert b"two" not in asked


def test_usage_counts_what_was_read_and_written(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.ask()
        talk.send("response.create")
        usage = talk.until("response.done")[-1]["response"]["usage"]
    assert usage["output_token_details"]["audio_tokens"] == 20
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_token_details"]["audio_tokens"] == 9 * 5
