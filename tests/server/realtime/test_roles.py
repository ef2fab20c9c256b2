"""Roles in realtime sessions: told, kept, said first, taken back, and never another session's."""

import json
from collections.abc import Sequence
from dataclasses import replace

from step_audio.core.types import TextDelta
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.role_play.cards import RoleCard, RoleCards
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, ScriptedChat, ScriptedEngine, group, services, text_ids
from tests.server.conftest import Connect
from tests.server.dial import dial, drop, of, until
from tests.server.loopback import serving
from tests.server.realtime.test_chat_sessions import SETTINGS as CHAT
from tests.server.realtime.test_chat_sessions import chatting
from tests.server.wire import Talk, talking
from tokenizer.vad import EnergyTurnDetector

ANSWER = interleave(text_ids("It is noon."), [group(n) for n in range(8)], VOCAB)
COOK = RoleCard(
    name="cook",
    title="a ship's cook",
    who="You cook for forty sailors.",
    manner=("slow", "loud"),
    voice=("nobody", "slt"),
    opening="Soup is ready.",
    never=("praise tinned food",),
    taught="cook",
)
LOUD = RoleCard(name="crier", title="a town crier", who="You cry the news.", voice=("nobody",))
ROLES = RoleCards((COOK, LOUD))
TOLD = DialogSettings(takes_instructions=True, roles=ROLES)
BY_HEART = DialogSettings(roles=ROLES, taught_roles={"cook": ("talk like a cook", "Yes chef.")})


def text_of(ids: Sequence[int]) -> bytes:
    """Return the text among ids."""
    return bytes(i - 300 for i in ids if 300 <= i < 556)


def prompts(engine: ScriptedEngine) -> list[bytes]:
    """Return the text of each prompt."""
    return [text_of(request.prompt) for request in engine.requests]


def style_of(talk: Talk, **session: object) -> dict[str, object]:
    talk.send("session.update", session=session)
    shown: dict[str, object] = talk.until("session.updated")[-1]["session"]
    return shown


def ask(talk: Talk) -> None:
    talk.ask()
    talk.send("response.create")
    talk.until("response.done")


def test_a_card_reaches_the_prompt_the_voice_and_the_sound(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connect(engine=engine, dialog=TOLD)) as talk:
        shown = style_of(talk, instructions="Be brief.", style={"role": "a ship's cook"})
        assert shown["style"]["role"] == "a ship's cook"  # type: ignore[index]
        assert shown["style"]["card"] == "cook"  # type: ignore[index]
        assert shown["style"]["applied"] == ["role"]  # type: ignore[index]
        assert shown["style"]["not_applied"] == {}  # type: ignore[index]
        assert shown["audio"]["output"]["voice"] == "slt"  # type: ignore[index]
        ask(talk)
    (told,) = prompts(engine)
    assert b"Be brief.\nYou play a role and never leave it. You are a ship's cook.\n" in told
    assert b"You cook for forty sailors." in told
    assert b"praise tinned food" in told


def test_a_card_that_reaches_nothing_says_why(connect: Connect) -> None:
    with talking(connect(dialog=DialogSettings(roles=ROLES))) as talk:
        shown = style_of(talk, style={"role": "crier"})
        assert shown["style"]["applied"] == []  # type: ignore[index]
        assert shown["style"]["not_applied"] == {  # type: ignore[index]
            "role": "this model takes no instructions and was taught no roles",
            "role.voice": "none of its voices is here: nobody",
        }
        assert shown["audio"]["output"]["voice"] == "rms"  # type: ignore[index]


def test_the_voice_that_a_client_names_goes_before_the_voice_of_a_role(connect: Connect) -> None:
    with talking(connect(dialog=TOLD)) as talk:
        named = {"output": {"voice": "rms"}}
        shown = style_of(talk, style={"role": "cook"}, audio=named)
        assert shown["audio"]["output"]["voice"] == "rms"  # type: ignore[index]
        shown = style_of(talk, audio={"output": {"voice": None}})
        assert shown["audio"]["output"]["voice"] == "slt"  # type: ignore[index]
        shown = style_of(talk, style={"role": None})
        assert shown["audio"]["output"]["voice"] == "rms"  # type: ignore[index]


def test_a_role_known_by_heart_is_set_by_its_exchange_in_front_of_every_question(
    connect: Connect,
) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connect(engine=engine, dialog=BY_HEART)) as talk:
        shown = style_of(talk, style={"role": "cook"})
        assert shown["style"]["applied"] == ["role"]  # type: ignore[index]
        ask(talk)
        ask(talk)
        style_of(talk, style={"role": None})
        ask(talk)
    first, second, third = prompts(engine)
    setting = b"human\ntalk like a cookassistant\nYes chef.human\n"
    assert setting in first
    assert setting in second
    assert b"It is noon." not in second, "its exchange is all the history in a role"
    assert b"talk like a cook" not in third
    assert b"It is noon." in third


def test_what_is_read_ahead_begins_as_the_prompt_in_a_role_does(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    client = connect(engine=engine, dialog=BY_HEART, detector=EnergyTurnDetector())
    with talking(client) as talk:
        style_of(talk, style={"role": "cook"})
        talk.hear(0.3)
        talk.hear(2.0, 0.3)
        talk.hear(0.7)
        talk.until("response.done")
    ahead = [text_of(prompt) for prompt, _ in engine.prefilled]
    assert ahead
    (whole,) = prompts(engine)
    for text in ahead:
        assert b"talk like a cook" in text
        assert whole.startswith(text)


def test_a_role_speaks_first_in_an_empty_conversation_and_only_there(connect: Connect) -> None:
    chat = ScriptedChat([[TextDelta("It is noon.")]])
    with talking(chatting(connect, chat, dialog=replace(CHAT, roles=ROLES))) as talk:
        style_of(talk, style={"role": "cook"}, audio={"input": {"turn_detection": None}})
        talk.send("response.create")
        done = talk.until("response.done")[-1]["response"]
        assert done["status"] == "completed"
        assert done["output"][0]["content"][0]["transcript"] == "Soup is ready."
        assert not chat.requests
        talk.send("response.create")
        talk.until("response.done")
    (request,) = chat.requests
    assert request.messages[-1].text == "Soup is ready."


def test_a_client_that_says_what_to_begin_with_is_followed(connect: Connect) -> None:
    chat = ScriptedChat([[TextDelta("Hello.")]])
    with talking(chatting(connect, chat, dialog=replace(CHAT, roles=ROLES))) as talk:
        style_of(talk, style={"role": "cook"}, audio={"input": {"turn_detection": None}})
        talk.send("response.create", response={"instructions": "Greet the user."})
        talk.until("response.done")
    assert len(chat.requests) == 1


def test_a_chat_model_is_told_in_the_system_message_and_of_one_response_alone(
    connect: Connect,
) -> None:
    chat = ScriptedChat([[TextDelta("It is noon.")]])
    with talking(chatting(connect, chat, dialog=replace(CHAT, roles=ROLES))) as talk:
        style_of(talk, audio={"input": {"turn_detection": None}}, instructions="Be brief.")
        for style in ({"role": "a lion tamer"}, None):
            talk.ask()
            talk.send("response.create", response={"style": style} if style else {})
            talk.until("response.done")
    first, second = (request.messages[0] for request in chat.requests)
    assert first.role == "system"
    assert first.text == "Be brief.\nYou play this role and never leave it: a lion tamer"
    assert second.text == "Be brief."


def test_a_role_is_kept_over_a_resumed_session_and_reaches_no_other() -> None:
    engine = ScriptedEngine([ANSWER])
    update = {"type": "session.update", "session": {"style": {"role": "cook"}}}
    manual = {"audio": {"input": {"turn_detection": None}}}
    turn = [
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "time?"}],
            },
        },
        {"type": "response.create"},
    ]
    with serving(services(engine), TOLD) as port:
        first = dial(port, "step-audio-resume")
        opening = until(first, of("session.resumable"))
        first.send(json.dumps(update))
        updated = until(first, of("session.updated"))[-1]
        drop(first)
        with dial(port) as other:
            until(other, of("session.created"))
            other.send(json.dumps({"type": "session.update", "session": manual}))
            shown = until(other, of("session.updated"))[-1]["session"]
            assert shown["style"]["role"] is None
            assert shown["audio"]["output"]["voice"] == "rms"
            for event in turn:
                other.send(json.dumps(event))
            until(other, of("response.done"))
        again = f"step-audio-resume.{opening[-1]['token']}.{updated['event_id']}"
        with dial(port, again) as second:
            for event in turn:
                second.send(json.dumps(event))
            until(second, of("response.done"))
    others, resumed = prompts(engine)
    assert b"ship's cook" not in others
    assert b"You are a ship's cook." in resumed


def test_the_cards_are_listed_with_what_of_them_has_no_effect(connect: Connect) -> None:
    listed = connect(dialog=BY_HEART).get("/v1/roles").json()
    assert listed["object"] == "list"
    cook, crier = listed["data"]
    assert (cook["id"], cook["title"], cook["applied"]) == ("cook", "a ship's cook", True)
    assert "role.who" in cook["not_applied"]
    assert (crier["id"], crier["applied"]) == ("crier", False)
    assert connect().get("/v1/roles").json()["data"] == []
