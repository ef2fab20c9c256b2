"""Sound as clients send it: cut anywhere, as any base64, up to 15 MiB at a time, in any format."""

import base64
import itertools
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as dial

from server.admission.limits import ServerSettings
from server.http.errors import RequestError
from server.realtime.wire.audio import FORMATS, PCM, AudioDecoder
from step_audio.core.audio import float_to_pcm16
from step_audio.dialog.settings import DialogSettings
from tests.fakes import ScriptedEngine, services
from tests.server.conftest import Connect
from tests.server.loopback import serving
from tests.server.wire import SECOND, Talk, kinds, talking
from tokenizer.vad import EnergyTurnDetector

BYTES = float_to_pcm16(np.random.default_rng(0).uniform(-0.5, 0.5, 24_000).astype(np.float32))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@given(cuts=st.lists(st.integers(0, len(BYTES)), max_size=8))
def test_a_sample_may_be_cut_over_two_appends(cuts: list[int]) -> None:
    decoder, edges = AudioDecoder(PCM), [0, *sorted(cuts), len(BYTES)]
    pieces = [BYTES[a:b] for a, b in itertools.pairwise(edges)]
    heard = np.concatenate([decoder.push(b64(piece), "audio") for piece in pieces])
    assert np.array_equal(heard, AudioDecoder(PCM).push(b64(BYTES), "audio"))
    assert not decoder.within_sample


@pytest.mark.parametrize(
    "written",
    [
        b64(BYTES),
        base64.encodebytes(BYTES).decode(),
        base64.encodebytes(BYTES).decode().replace("\n", "\r\n"),
        base64.urlsafe_b64encode(BYTES).decode(),
        b64(BYTES + b"\0").rstrip("="),
        f"data:audio/pcm;base64,{b64(BYTES)}",
    ],
)
def test_base64_that_can_only_mean_one_thing_is_taken(written: str) -> None:
    assert len(AudioDecoder(PCM).push(written, "audio")) == 24_000


@pytest.mark.parametrize("written", ["QUJDR", "QU=JD", "é", "QU*D", "QUI=QUI="])
def test_what_is_no_base64_is_refused_under_its_name(written: str) -> None:
    with pytest.raises(RequestError) as refused:
        AudioDecoder(PCM).push(written, "audio")
    assert (refused.value.code, refused.value.param) == ("invalid_audio", "audio")


@given(rate_law=st.sampled_from(["audio/pcmu", "audio/pcma"]), data=st.binary(max_size=100))
def test_telephone_sound_is_never_within_a_sample(rate_law: Any, data: bytes) -> None:
    decoder = AudioDecoder(FORMATS[rate_law])
    assert len(decoder.push(b64(data), "audio")) == len(data)
    assert not decoder.within_sample


def test_sound_in_pieces_of_odd_length_is_a_question(connect: Connect) -> None:
    with talking(connect()) as talk:
        for at in range(0, len(BYTES), 961):
            talk.send("input_audio_buffer.append", audio=b64(BYTES[at : at + 961]))
        talk.send("input_audio_buffer.commit")
        assert kinds(talk.until("conversation.item.done"))[0] == "input_audio_buffer.committed"


@pytest.mark.parametrize(
    "change",
    [
        {"input_audio_format": "g711_ulaw"},
        {"audio": {"input": {"format": {"type": "audio/pcma"}}}},
        {"turn_detection": {"type": "server_vad"}},
    ],
)
def test_sound_that_other_settings_leave_behind_is_said_to_be_cleared(
    connect: Connect, change: dict[str, Any]
) -> None:
    with talking(connect(detector=EnergyTurnDetector())) as talk:
        talk.send("session.update", session={"type": "realtime", "turn_detection": None})
        assert talk.next()["type"] == "session.updated"
        talk.send("input_audio_buffer.append", audio=SECOND)
        talk.send("session.update", session=change)
        assert kinds(talk.until("session.updated"))[0] == "input_audio_buffer.cleared"
        talk.send("session.update", session=change)
        assert talk.next()["type"] == "session.updated"  # nothing was in the buffer


def test_one_telephone_law_after_the_other_keeps_the_sound(connect: Connect) -> None:
    with talking(connect()) as talk:
        for law in ("g711_ulaw", "g711_alaw"):
            talk.send("session.update", session={"type": "realtime", "input_audio_format": law})
            assert talk.next()["type"] == "session.updated"
            talk.send("input_audio_buffer.append", audio=b64(bytes(800)))
        talk.send("input_audio_buffer.commit")
        assert talk.next()["type"] == "input_audio_buffer.committed"


def test_what_is_wrong_with_sound_names_its_field(connect: Connect) -> None:
    with talking(connect(dialog=DialogSettings(max_question_s=1.5))) as talk:
        assert talk.error("input_audio_buffer.append", audio="*")["param"] == "audio"
        talk.send("input_audio_buffer.append", audio=SECOND)
        assert talk.error("input_audio_buffer.append", audio=SECOND)["param"] == "audio"
        long = {"type": "input_audio", "audio": b64(BYTES * 2)}
        text = {"type": "input_text", "text": "x"}
        item = {"type": "message", "role": "user"}
        wrong = talk.error("conversation.item.create", item={**item, "content": [text, long]})
        assert wrong["param"] == "item.content.1.audio"
        broken = {**item, "content": [text, {"type": "input_audio", "audio": "*"}]}
        wrong = talk.error("response.create", response={"input": [broken]})
        assert wrong["param"] == "response.input.0.content.1.audio"


def append(data: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": b64(data)})


def test_fifteen_mebibytes_are_one_append_and_more_is_said_before_the_close() -> None:
    parts = replace(services(ScriptedEngine([()])), turn_detector=None)
    dialog = DialogSettings(max_question_s=400)
    with serving(parts, dialog) as port, dial(f"ws://127.0.0.1:{port}/v1/realtime") as socket:
        assert json.loads(socket.recv())["type"] == "session.created"
        socket.send(append(bytes(15 << 20)))
        socket.send('{"type": "input_audio_buffer.commit"}')
        assert json.loads(socket.recv(timeout=60))["type"] == "input_audio_buffer.committed"
        assert json.loads(socket.recv())["type"] == "conversation.item.added"
        assert json.loads(socket.recv())["type"] == "conversation.item.done"
        socket.send('{"type": "input_audio_buffer.clear"}')
        socket.send(append(bytes(17 << 20)))
        assert json.loads(socket.recv())["type"] == "input_audio_buffer.cleared"
        error = json.loads(socket.recv())["error"]
        assert error["code"] == "message_too_large"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_message_that_is_too_long_is_said_whatever_it_is_cut_into() -> None:
    limits = ServerSettings(max_message_bytes=10_000)
    with serving(services(ScriptedEngine([()])), None, limits) as port:
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        for pieces in (["x" * 50_000], ["x" * 6_000] * 4):
            with dial(url) as socket:
                socket.recv()
                with suppress(ConnectionClosed):  # the server may close before the last piece
                    socket.send(iter(pieces))
                assert json.loads(socket.recv())["error"]["code"] == "message_too_large"
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009
        with dial(f"{url}/audio") as socket:
            socket.recv()
            socket.send("x" * 50_000)
            event = json.loads(socket.recv())
            assert (event["type"], event["data"]["code"]) == (
                "tts.response.error",
                "message_too_large",
            )


def test_the_session_of_a_test_transport_says_it_too(connect: Connect) -> None:
    client: TestClient = connect(settings=ServerSettings(max_message_bytes=1000))
    with talking(client) as talk:
        Talk(talk.socket).socket.send_text("x" * 2000)
        assert talk.next()["error"]["code"] == "message_too_large"
