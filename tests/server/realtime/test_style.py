import base64
from dataclasses import replace

import pytest

from server.realtime.wire.style import SessionStyle
from step_audio.core.config import load_profile
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, Typed
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.style_tags import StyleReach
from tests.fakes import VOCAB, ScriptedEngine, SineVocoder, group, services, text_ids
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


@pytest.mark.parametrize(
    "wrong", [{"speed": 6}, {"mode": "yodel"}, {"emotion": "x" * 101}, {"role": "x" * 4001}]
)
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
    assert SessionStyle().lines(StyleReach()) == ""
    assert SessionStyle(emotion="sad").lines(StyleReach()) == "Speak in a sad voice."
    parts = Assistant(services(ScriptedEngine([[]])), DialogSettings(takes_instructions=True))
    assert parts.system_text("as given", "Rap your answer.") == "as given\nRap your answer."
    assert parts.system_text("", "Rap your answer.") == "assistant\nRap your answer."


PROFILES = ("nano", "tts-3b", "one-gpu", "chat-130b", "aqaa-130b")
READ_ALOUD = ("one-gpu", "chat-130b")
"""A second model reads their answers aloud, and knows tags."""
TAGGED = {
    ("emotion", "happy"): ("高兴1",),
    ("emotion", "very angry indeed"): (),
    ("dialect", "Sichuanese"): ("四川话",),
    ("dialect", "Klingon"): (),
    ("mode", "rap"): ("RAP",),
    ("mode", "sing"): ("哼唱",),
    ("speed", 1): ("慢速2",),
    ("speed", 2): ("慢速1",),
    ("speed", 4): ("快速1",),
    ("speed", 5): ("快速2",),
    ("role", "a pirate"): (),
    ("loudness", 5): (),
}
"""A wish -> the tags that the model which reads aloud knows for it."""


def shipped(profile: str, engine: ScriptedEngine, reader: ScriptedEngine) -> Assistant:
    """An assistant with the dialogue of a shipped profile around scripted engines."""
    settings = DialogSettings(
        **load_profile(profile).dialog.model_dump(), responder=load_profile(profile).responder
    )
    parts = services(engine)
    if profile != "nano":
        parts = replace(parts, singing_vocoder=SineVocoder())
    if settings.responder == "cascade":
        parts = replace(parts, speech_engine=reader)
    return Assistant(parts, settings)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("wish", TAGGED)
def test_applied_is_what_reached_the_model_that_makes_the_sound_or_the_sound(
    profile: str, wish: tuple[str, object]
) -> None:
    name, value = wish
    parts = shipped(profile, ScriptedEngine([[]]), ScriptedEngine([[]]))
    given = {name: parts.role(str(value)) if name == "role" else value}
    reach, style = parts.style_reach, SessionStyle(**given)  # type: ignore[arg-type]
    told = style.spoken(reach).tags
    on_sound = {"speed": style.speed_factor(reach), "loudness": style.volume_factor}.get(name, 1.0)
    in_words = parts.settings.takes_instructions and bool(style.lines(reach))
    by_heart = name == "role" and profile == "nano"  # it was taught this one
    assert told == (TAGGED[wish] if profile in READ_ALOUD else ())
    # Words to the model that speaks itself have an effect; to one that only writes, a role does.
    words_count = in_words and (profile not in READ_ALOUD or name == "role")
    expected = [name] if told or on_sound != 1.0 or words_count or by_heart else []
    assert style.wire(reach)["applied"] == expected
    assert set(expected) <= set(style.wire(reach)["available"])
    if value in ("happy", "Sichuanese", "rap", "sing", "a pirate"):  # of which all models know tags
        assert (name in style.wire(reach)["available"]) == bool(expected)


async def test_a_style_reaches_the_engine_that_speaks_as_the_ids_of_its_tags() -> None:
    writer = ScriptedEngine([text_ids("It is noon. Go.")])
    reader = ScriptedEngine([VOCAB.ids([group(1)])])
    parts = shipped("chat-130b", writer, reader)
    style = SessionStyle(emotion="happy", dialect="Sichuanese", speed=2)
    conversation = Conversation()
    conversation.add(Typed("q", "human", "what now"))
    answer = parts.answer(conversation, style=style.spoken(parts.style_reach))
    async for _ in answer:
        pass
    door = [bytes(i - 300 for i in r.prompt if 300 <= i < 556).decode() for r in reader.requests]
    tags = "(高兴1)(四川话)(慢速1)"
    assert [f"{tags}It is noon." in door[0], f"{tags}Go." in door[1]] == [True, True]
