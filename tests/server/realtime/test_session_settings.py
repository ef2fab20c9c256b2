"""What a response is asked to do differently: temperature, a named function."""

from collections.abc import Sequence

import pytest

from server.admission.limits import ServerSettings
from step_audio.core.ports import ToolSpec
from step_audio.core.types import CallRule
from step_audio.dialog.prompting.layout import interleave
from tests.fakes import VOCAB, FakeTools, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import sound, talking


class NoTools(FakeTools):
    def specs(self) -> Sequence[ToolSpec]:
        return ()


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


@pytest.mark.parametrize(("most", "whole"), [(len(ANSWER), False), (len(ANSWER) + 1, True)])
def test_an_answer_cut_off_by_its_limit_is_told_as_incomplete(
    connect: Connect, most: int, *, whole: bool
) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.ask()
        talk.send("response.create", response={"max_output_tokens": most})
        events = talk.until("response.done")
        response = events[-1]["response"]
        (item,) = response["output"]
        assert sound(events) == 3 * 960  # nothing of what was made is kept back
        talk.send("response.create")
        assert talk.until("response.done")[-1]["response"]["status"] == "completed"
    if whole:
        assert (response["status"], response["status_details"]) == ("completed", None)
        assert item["status"] == "completed"
        return
    assert response["status"] == item["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["max_output_tokens"] == most


def test_a_function_that_is_not_there_cannot_be_chosen(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.ask()
        choice = {"type": "function", "name": "nothing"}
        error = talk.error("response.create", response={"tool_choice": choice})
    assert (error["code"], error["param"]) == ("invalid_tool_choice", "response.tool_choice")


@pytest.mark.parametrize("wrong", ["required", {"type": "function", "name": "nothing"}])
def test_a_call_that_nobody_could_make_cannot_be_required(connect: Connect, wrong: object) -> None:
    with talking(connect([ANSWER], tools=NoTools())) as talk:
        talk.ask()
        error = talk.error("response.create", response={"tool_choice": wrong})
    assert (error["code"], error["param"]) == ("invalid_tool_choice", "response.tool_choice")


def test_a_required_call_of_a_clients_tool_ends_the_answer(connect: Connect) -> None:
    engine = ScriptedEngine([[8, *text_ids('lamp {"on":true}')]])
    lamp = {"type": "function", "name": "lamp", "parameters": {"type": "object"}}
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("response.create", response={"tools": [lamp], "tool_choice": "required"})
        (call,) = talk.until("response.done")[-1]["response"]["output"]
    assert (call["name"], call["arguments"]) == ("lamp", '{"on":true}')
    rule = engine.requests[0].calls
    assert rule is not None
    assert rule.must
    assert all(bytes(i - 300 for i in ids).startswith(b"lamp {") for ids in rule.openings)


def test_with_none_the_engine_is_told_to_call_nothing(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connect(engine=engine)) as talk:
        talk.ask()
        talk.send("response.create", response={"tool_choice": "none"})
        talk.until("response.done")
    assert engine.requests[0].calls == CallRule(must=False)


@pytest.mark.parametrize("voice", ["alloy", {"id": "marin"}, "qingchunshaonv"])
def test_stock_voices_mean_voices_that_are_there_and_keep_their_names(
    connect: Connect, voice: str | dict[str, str]
) -> None:
    name = voice if isinstance(voice, str) else voice["id"]
    with talking(connect([ANSWER])) as talk:
        output = {"voice": voice}
        talk.send("session.update", session={"type": "realtime", "audio": {"output": output}})
        assert talk.next()["session"]["audio"]["output"]["voice"] == name
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
    assert events[-1]["response"]["status"] == "completed"
    assert events[-1]["response"]["audio"]["output"]["voice"] == name
    assert sound(events) > 0


def test_an_operators_name_for_a_voice_holds_in_sessions_too(connect: Connect) -> None:
    settings = ServerSettings(voice_names={"boss": "slt"})
    with talking(connect([ANSWER], settings=settings)) as talk:
        output = {"voice": "boss"}
        talk.send("session.update", session={"type": "realtime", "audio": {"output": output}})
        assert talk.next()["session"]["audio"]["output"]["voice"] == "boss"
        error = talk.error("session.update", session={"audio": {"output": {"voice": "nobody"}}})
    assert error["code"] == "voice_not_found"
