"""What a response is asked to do differently: temperature, a named function."""

import pytest

from step_audio.dialog.packing import interleave
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import talking

ANSWER = [6, *text_ids("hi"), 7, *interleave(text_ids("It is noon."), [group(0)], VOCAB)]


@pytest.mark.parametrize(("given", "drawn"), [(0.3, 0.3), (0.8, 0.7), (None, 0.7)])
def test_a_temperature_reaches_the_engine_except_the_protocols_default(
    connect: Connect, given: float | None, drawn: float
) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("session.update", session={"modalities": ["text"], "temperature": given})
        assert talk.next()["session"].get("temperature") == given
        talk.send("response.create")
        talk.until("response.done")
    assert engine.requests[0].sampling.temperature == drawn


def test_a_temperature_out_of_range_is_refused(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        error = talk.error("session.update", session={"temperature": 3.0})
    assert error["param"] == "session.temperature"


def test_a_function_that_is_not_there_cannot_be_chosen(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.ask()
        choice = {"type": "function", "name": "nothing"}
        error = talk.error("response.create", response={"tool_choice": choice})
    assert (error["code"], error["param"]) == ("invalid_tool_choice", "response.tool_choice")
