"""The history of models that bring no transcripts: old questions become words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.testclient import TestClient

from step_audio.core.errors import EngineError
from step_audio.dialog.settings import DialogSettings
from tests.fakes import VOCAB, ScriptedEngine, ScriptedRecognizer, text_ids
from tests.server.conftest import Connect
from tests.server.wire import SECOND, Event, Talk, talking
from tokenizer.vad import EnergyTurnDetector

UNMARKED = replace(VOCAB, heard_open=None, heard_close=None, call=None)
"""Of a model that writes no transcripts and no calls of nano's, as the published ones."""
ANSWER = text_ids("It is noon.")
KIND = "conversation.item.input_audio_transcription"
UNTAUGHT = DialogSettings(transcribe_prompt="", takes_instructions=True)
TAUGHT = DialogSettings(transcribe_prompt="chat_transcribe", takes_instructions=True)


def connected(
    connect: Connect, engine: ScriptedEngine, dialog: DialogSettings, **parts: Any
) -> TestClient:
    return connect(engine=engine, dialog=dialog, vocab=UNMARKED, **parts)


def sounds(prompt: tuple[int, ...]) -> int:
    return sum(map(UNMARKED.is_audio, prompt))


def asked_twice(talk: Talk) -> list[Event]:
    events: list[Event] = []
    for _ in range(2):
        talk.ask()
        talk.send("response.create")
        events += talk.until("response.done")
    return events


def contains(prompt: tuple[int, ...], text: str) -> bool:
    wanted = tuple(text_ids(text))
    return any(prompt[at : at + len(wanted)] == wanted for at in range(len(prompt)))


def test_a_transcriber_turns_old_questions_into_words_though_nobody_asked(
    connect: Connect,
) -> None:
    engine = ScriptedEngine([ANSWER])
    ear = ScriptedRecognizer(["what", "time", "is", "it"])
    with talking(connected(connect, engine, UNTAUGHT, recognizer=ear)) as talk:
        asked_twice(talk)
    first, second = (request.prompt for request in engine.requests)
    assert sounds(second) == sounds(first) > 0, "only the question itself is sound"
    assert contains(second, "what time is it")
    assert [live for _, _, live in ear.asked] == [False, False], "no passes that nobody sees"


def test_without_anybody_who_hears_old_questions_stay_sound(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    with talking(connected(connect, engine, UNTAUGHT)) as talk:
        asked_twice(talk)
    first, second = (request.prompt for request in engine.requests)
    assert sounds(second) == 2 * sounds(first)


def test_a_model_that_can_is_asked_once_its_answer_is_over(connect: Connect) -> None:
    words = text_ids("what time is it")
    engine = ScriptedEngine([ANSWER, words, ANSWER, words])
    with talking(connected(connect, engine, TAUGHT)) as talk:
        talk.ask()
        talk.send("response.create")
        talk.until("response.done")
        while len(engine.requests) < 2:
            talk.send("conversation.item.retrieve", item_id="none")  # the server runs on
            talk.until("error")
        talk.ask()
        talk.send("response.create")
        talk.until("response.done")
    asked = [request.prompt for request in engine.requests]
    assert sounds(asked[2]) == sounds(asked[0])
    assert contains(asked[2], "what time is it")


def test_the_client_that_wants_words_gets_them_from_the_transcriber(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    ear = ScriptedRecognizer(["what", "time", "is", "it"])
    client = connected(connect, engine, UNTAUGHT, recognizer=ear, detector=EnergyTurnDetector())
    with talking(client) as talk:
        wanted = {"input": {"transcription": {"model": "any"}}}
        talk.send("session.update", session={"type": "realtime", "audio": wanted})
        talk.until("session.updated")
        talk.hear(0.3)
        talk.hear(1.5, 0.3)
        talk.hear(1.0)
        events = talk.until("response.done")
        if not any(event["type"] == f"{KIND}.completed" for event in events):
            events += talk.until(f"{KIND}.completed")
    told = [event for event in events if event["type"] == f"{KIND}.completed"]
    assert [event["transcript"] for event in told] == ["what time is it"]


def test_an_item_that_a_client_made_of_sound_becomes_words_too(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    ear = ScriptedRecognizer(["what", "time", "is", "it"])
    sound = {"type": "input_audio", "audio": SECOND}
    contents = ([sound], [{"type": "input_text", "text": "well"}, sound])
    with talking(connected(connect, engine, UNTAUGHT, recognizer=ear)) as talk:
        for content in contents:
            item = {"type": "message", "role": "user", "content": content}
            talk.send("conversation.item.create", item=item)
            talk.until("conversation.item.done")
            talk.send("response.create")
            talk.until("response.done")
        talk.ask()
        talk.send("response.create")
        events = talk.until("response.done")
    prompts = [request.prompt for request in engine.requests]
    assert sounds(prompts[2]) == sounds(prompts[0])
    assert contains(prompts[2], "well\nwhat time is it")
    assert not [event for event in events if event["type"].startswith(KIND)]


def test_a_transcriber_that_fails_costs_the_history_nothing_but_room(connect: Connect) -> None:
    engine = ScriptedEngine([ANSWER])
    ear = ScriptedRecognizer([], error=EngineError("the ear is gone"))
    with talking(connected(connect, engine, UNTAUGHT, recognizer=ear)) as talk:
        events = asked_twice(talk)
    first, second = (request.prompt for request in engine.requests)
    assert sounds(second) == 2 * sounds(first)
    assert not [event for event in events if event["type"] in ("error", f"{KIND}.failed")]
