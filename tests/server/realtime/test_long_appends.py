"""Appends of many seconds: heard in pieces, with what is behind them read meanwhile."""

import asyncio

from step_audio.dialog.settings import DialogSettings, TurnSettings
from tests.fakes import ScriptedEngine
from tests.server.realtime.hosting import ANSWER, FakeSocket, HeldTokenizer, Room, turns

MANUAL = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}


async def test_a_cancel_behind_a_long_append_is_read_while_that_is_heard() -> None:
    """B11: it waited until all of the append had been heard."""
    tokenizer = HeldTokenizer()
    room = Room(tokenizer=tokenizer, engine=ScriptedEngine([ANSWER], hold=3))
    socket = FakeSocket()
    served = asyncio.create_task(room.serve(socket))
    socket.put("session.update", session=MANUAL)
    words = {"type": "input_text", "text": "What time is it?"}
    socket.put(
        "conversation.item.create", item={"type": "message", "role": "user", "content": [words]}
    )
    socket.put("response.create")
    await socket.until("response.created")
    socket.put("input_audio_buffer.append", audio=turns(10))
    socket.put("response.cancel")
    done = await socket.until("response.done")
    assert done["response"]["status"] == "cancelled"
    assert tokenizer.pushes == 0, "nothing of the append was heard yet"
    tokenizer.gate.set()
    socket.put("input_audio_buffer.commit")
    await socket.until("input_audio_buffer.committed")
    assert tokenizer.pushes > 100, "all of it was heard, in pieces"
    socket.leave(1000)
    await served
    await room.ended()


async def test_an_error_in_the_middle_of_an_append_drops_nothing_behind_it() -> None:
    """B11: the rest of the append was never heard, and nobody was told."""
    tokenizer = HeldTokenizer(fails=frozenset({3, 4}))
    tokenizer.gate.set()
    room = Room(tokenizer=tokenizer, dialog=DialogSettings(turns=TurnSettings(speculate=False)))
    socket = FakeSocket()
    served = asyncio.create_task(room.serve(socket))
    socket.put("input_audio_buffer.append", event_id="mine", audio=turns(3))
    await socket.until("input_audio_buffer.speech_stopped", times=3)
    errors = [event["error"] for event in socket.sent if event["type"] == "error"]
    assert [(error["code"], error["event_id"]) for error in errors] == [("invalid_audio", "mine")]
    socket.leave(1000)
    await served
    await room.ended()


async def test_what_follows_an_append_is_carried_out_behind_it() -> None:
    tokenizer = HeldTokenizer()
    room, socket = Room(tokenizer=tokenizer), FakeSocket()
    served = asyncio.create_task(room.serve(socket))
    socket.put("session.update", session=MANUAL)
    socket.put("input_audio_buffer.append", audio=turns(1))
    socket.put("response.cancel")  # nothing is under way: told when the sound before it is heard
    socket.put("input_audio_buffer.commit")
    await socket.until("session.updated")
    tokenizer.gate.set()
    committed = await socket.until("input_audio_buffer.committed")
    errors = [event for event in socket.sent if event["type"] == "error"]
    assert [event["error"]["code"] for event in errors] == ["response_cancel_not_active"]
    assert socket.sent.index(errors[0]) < socket.sent.index(committed)
    socket.leave(1000)
    await served
    await room.ended()
