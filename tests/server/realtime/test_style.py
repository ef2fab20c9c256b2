import base64

import pytest

from server.realtime.wire.style import SessionStyle
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, ScriptedEngine, group, text_ids
from tests.server.conftest import Connect
from tests.server.wire import Event, talking

ANSWER = interleave(text_ids("It is noon."), [group(n) for n in range(8)], VOCAB)


def length(events: list[Event]) -> int:
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    return sum(len(base64.b64decode(delta)) for delta in deltas)


def test_levels_change_the_sound_in_mid_session_and_the_reply_says_so(connect: Connect) -> None:
    with talking(connect([ANSWER])) as talk:
        talk.ask()
        talk.send("response.create")
        plain = length(talk.until("response.done"))
        talk.send("session.update", session={"style": {"speed": 5, "emotion": "happy"}})
        style = talk.until("session.updated")[-1]["session"]["style"]
        assert (style["speed"], style["emotion"], style["applied"]) == (5, "happy", ["speed"])
        talk.send("response.create")
        assert length(talk.until("response.done")) == pytest.approx(plain / 1.45, rel=0.01)
        talk.send("session.update", session={"style": {"speed": None}})
        style = talk.until("session.updated")[-1]["session"]["style"]
        assert (style["speed"], style["emotion"], style["applied"]) == (3, "happy", [])


def test_wishes_reach_a_model_that_takes_instructions(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    dialog = DialogSettings(takes_instructions=True)
    with talking(connect(engine=engine, dialog=dialog)) as talk:
        style = {"role": "a pirate", "dialect": "Sichuanese", "mode": "rap"}
        talk.send("session.update", session={"instructions": "Be brief.", "style": style})
        shown = talk.until("session.updated")[-1]["session"]["style"]
        assert shown["applied"] == ["role", "dialect", "mode"]
        talk.ask()
        talk.send("response.create")
        talk.until("response.done")
    system = bytes(i - 300 for i in engine.requests[0].prompt if 300 <= i < 556)
    for words in (b"Be brief.", b"a pirate", b"Sichuanese", b"Rap"):
        assert words in system


@pytest.mark.parametrize("wrong", [{"speed": 6}, {"mode": "yodel"}, {"emotion": "x" * 101}])
def test_a_style_that_does_not_exist_is_refused_and_changes_nothing(
    connect: Connect, wrong: Event
) -> None:
    with talking(connect()) as talk:
        name = next(iter(wrong))
        session = {"style": wrong, "instructions": "changed"}
        assert talk.error("session.update", session=session)["param"] == f"session.style.{name}"
        talk.send("session.update", session={})
        assert talk.until("session.updated")[-1]["session"]["instructions"] == ""


def test_no_wish_adds_no_words() -> None:
    assert SessionStyle().instructions("as given") == "as given"
    assert SessionStyle().instructions("") == ""
    assert SessionStyle(emotion="sad").instructions("") == "Speak in a sad voice."
