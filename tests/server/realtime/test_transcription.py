"""Transcripts of questions that get no answer."""

from step_audio.core.errors import EngineError
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import Talk, talking

HEARD = [6, *text_ids("what time is it"), 7]
ANSWER = [*HEARD, *interleave(text_ids("It is noon."), [group(0), group(1)], VOCAB)]
KIND = "conversation.item.input_audio_transcription"


def captioned(talk: Talk) -> None:
    talk.send("session.update", session={"audio": {"input": {"transcription": {"model": "x"}}}})
    assert talk.next()["type"] == "session.updated"


def test_a_question_without_an_answer_is_transcribed(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        captioned(talk)
        item_id = talk.ask()
        done = talk.until(f"{KIND}.completed")[-1]
        assert (done["item_id"], done["transcript"]) == (item_id, "what time is it")
        assert done["usage"] == {"type": "duration", "seconds": 1.0}
        talk.send("response.create")
        assert not [e for e in talk.until("response.done") if e["type"].startswith(KIND)]


def test_an_answer_brings_the_transcript_alone(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connect(engine=engine)) as talk:
        captioned(talk)
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
        assert [e["type"] for e in events].count(f"{KIND}.completed") == 1
        talk.ask()
        talk.until(f"{KIND}.completed")
    assert len(engine.requests) == 2


def test_a_broken_ear_is_told(connect: Connect) -> None:
    engine = ScriptedEngine([()], error=EngineError("the engine is gone"))
    with talking(connect(engine=engine)) as talk:
        captioned(talk)
        item_id = talk.ask()
        failed = talk.until(f"{KIND}.failed")[-1]
    assert failed["item_id"] == item_id
    assert failed["error"]["message"] == "the engine is gone"
    assert all(isinstance(value, str) for value in failed["error"].values())


def test_nobody_who_did_not_ask_costs_the_engine_anything(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("response.create")
        talk.until("response.done")
    assert len(engine.requests) == 1
