"""Rap and humming: which ids are asked, which example is shown, which vocoder speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from step_audio.core.errors import CannotSing
from step_audio.core.ports import Services
from step_audio.core.types import AudioChunk, TextDelta, Voice
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Conversation, Typed
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.style_tags import PLAIN, Style
from tests.fakes import VOCAB, ByteTokenizer, ScriptedEngine, SineVocoder, group, services, text_ids

VECTOR = np.zeros(192, dtype=np.float32)
RAP = Voice("Tingting", VECTOR, "（RAP）yo", (group(20), group(21)))
HUM = Voice("Tingting", VECTOR, "（哼唱）la", (group(30), group(31)))
NAMED = Voice(
    "Tingting",
    VECTOR,
    "hello",
    (group(10), group(11)),
    speaker="Tingting",
    song_examples={"RAP": RAP, "哼唱": HUM},
)
CLONE = Voice("Anna", VECTOR, "my words", (group(40),))
BUILDER = PromptBuilder(ByteTokenizer(), VOCAB)


@dataclass
class TwoVoices:
    def get(self, name: str) -> Voice:
        return {"Tingting": NAMED, "Anna": CLONE}[name]

    def names(self) -> tuple[str, ...]:
        return ("Tingting", "Anna")


class NotedVocoder(SineVocoder):
    """Notes whose voice each stream was opened in."""

    def __init__(self) -> None:
        super().__init__()
        self.voices: list[Voice] = []

    def open(self, voice: Voice, seed: int = 0):  # type: ignore[no-untyped-def]
        self.voices.append(voice)
        return super().open(voice, seed)


def parts(engine: ScriptedEngine) -> tuple[Services, NotedVocoder, NotedVocoder]:
    speech, song = NotedVocoder(), NotedVocoder()
    made = replace(
        services(engine),
        voices=TwoVoices(),
        default_voice="Tingting",
        vocoder=speech,
        singing_vocoder=song,
    )
    return made, speech, song


def reader() -> ScriptedEngine:
    return ScriptedEngine([VOCAB.ids([group(1), group(2)])])


SPEECH = DialogSettings(responder="speech", takes_style_tags=True)


@pytest.mark.parametrize(
    ("tag", "example"), [("RAP", RAP), ("哼唱", HUM), ("高兴1", NAMED), ("", NAMED)]
)
async def test_a_named_speaker_is_asked_by_prompt_example_and_vocoder_of_the_tag(
    tag: str, example: Voice
) -> None:
    engine = reader()
    made, speech, song = parts(engine)
    text = f"（{tag}）One. Two." if tag else "One. Two."
    chunks = [c async for c in Assistant(made, SPEECH).say(text)]
    assert chunks
    said = [f"({tag}){word}" if tag else word for word in ("One.", "Two.")]
    asked = [list(request.prompt) for request in engine.requests]
    assert asked == [BUILDER.tts(text, example, speaker=example.speaker) for text in said]
    sings = tag in ("RAP", "哼唱")
    assert [v is example for v in (song if sings else speech).voices] == [True]
    assert not (speech if sings else song).voices


async def test_a_clone_raps_by_its_own_example_and_is_never_named() -> None:
    engine = reader()
    made, _, song = parts(engine)
    assistant = Assistant(made, SPEECH)
    assert [c async for c in assistant.say("(RAP) One.", "Anna")]
    assert [c async for c in assistant.say("One.", "Anna")]
    asked = [list(request.prompt) for request in engine.requests]
    assert asked == [BUILDER.tts("(RAP)One.", CLONE), BUILDER.tts("One.", CLONE)]
    assert [v is CLONE for v in song.voices] == [True]


async def test_text_changes_between_speech_and_song() -> None:
    made, speech, song = parts(reader())
    assert [c async for c in Assistant(made, SPEECH).say("One. (RAP) Two. Three. (sad) Four.")]
    assert [voice.prompt_text for voice in speech.voices] == ["hello", "hello"]
    assert [voice.prompt_text for voice in song.voices] == ["（RAP）yo"]


@pytest.mark.parametrize("lacks", ["vocoder", "tags"])
async def test_what_cannot_be_sung_is_refused_with_the_reason(lacks: str) -> None:
    engine = reader()
    made, _, _ = parts(engine)
    if lacks == "vocoder":
        made = replace(made, singing_vocoder=None)
    assistant = Assistant(made, replace(SPEECH, takes_style_tags=lacks != "tags"))
    for text, words in (("One. (RAP) Two.", ""), ("One.", "hum it")):
        with pytest.raises(CannotSing, match="vocoder for singing"):
            assistant.refuse_unspeakable(text, words)
    with pytest.raises(CannotSing):
        [c async for c in assistant.say("One. (RAP) Two.")]
    assert not engine.requests, "refused before anything is read"


CASCADE = DialogSettings(responder="cascade", takes_style_tags=True)


async def answered(
    written: str, asked: Style = PLAIN, settings: DialogSettings = CASCADE, *, aloud: bool = True
) -> tuple[str, list[list[int]], NotedVocoder, NotedVocoder]:
    """Return what is shown, which ids were asked of the speech engine, and both vocoders."""
    writer, speaks = ScriptedEngine([text_ids(written)]), reader()
    made, speech, song = parts(writer)
    assistant = Assistant(replace(made, speech_engine=speaks), settings)
    conversation = Conversation()
    conversation.add(Typed("q", "human", "sing"))
    answer = assistant.answer(conversation, style=asked, aloud=aloud)
    events = [event async for event in answer]
    shown = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert any(isinstance(event, AudioChunk) for event in events) == aloud
    return shown, [list(request.prompt) for request in speaks.requests], speech, song


async def test_what_the_chat_model_writes_in_front_holds_for_all_its_sentences() -> None:
    shown, asked, _, _ = await answered("（快速）One. Two.")
    assert shown == "One. Two."
    said = ("(快速1)One.", "(快速1)Two.")
    assert asked == [BUILDER.tts(text, NAMED, speaker="Tingting") for text in said]


async def test_tags_of_the_text_go_before_those_of_the_session_of_one_kind() -> None:
    asked_for = Style(("高兴1", "慢速1"))
    shown, asked, _, _ = await answered("One. (fast) Two. (sad)(四川话)Three.", asked_for)
    assert shown == "One. Two. Three."
    said = ("(高兴1)(慢速1)One.", "(高兴1)(快速1)Two.", "(悲伤1)(四川话)(慢速1)Three.")
    assert asked == [BUILDER.tts(text, NAMED, speaker="Tingting") for text in said]


async def test_a_song_in_an_answer_is_sung_and_speech_goes_on_after_it() -> None:
    shown, asked, speech, song = await answered("Listen. （哼唱）La la. Lo. (happy) Well?")
    assert shown == "Listen. La la. Lo. Well?"
    assert asked[1:3] == [BUILDER.tts(f"(哼唱){text}", HUM) for text in ("La la.", "Lo.")]
    assert [voice.prompt_text for voice in song.voices] == ["（哼唱）la"]
    assert [voice.prompt_text for voice in speech.voices] == ["hello", "hello"]


async def test_without_a_singing_vocoder_a_song_is_spoken() -> None:
    settings = replace(CASCADE, takes_style_tags=False)
    shown, asked, speech, song = await answered("（RAP）Yo.", settings=settings)
    assert shown == "Yo."
    assert asked == [BUILDER.tts("Yo.", NAMED, speaker="Tingting")]
    assert not song.voices
    assert len(speech.voices) == 1


async def test_tags_are_not_shown_in_answers_without_sound() -> None:
    shown, asked, _, _ = await answered("（快速）One (two). (RAP)", aloud=False)
    assert (shown, asked) == ("One (two). ", [])
