"""Tags that a model writes into its own answer: not shown, kept in its history, and heard."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest

from server.realtime.wire.style import SessionStyle
from step_audio.core.config import load_profile
from step_audio.core.types import TextDelta, TokenGroup, VoiceChange
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.prompting.conversation import Answer, Conversation, Typed
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.response.manner_turn import in_manner
from step_audio.dialog.response.turn import TurnEvent
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.style_tags import PLAIN, Style, style_named
from tests.fakes import (
    VOCAB,
    MemoryVoices,
    ScriptedEngine,
    SineVocoder,
    group,
    services,
    text_ids,
)

MANNERS = ("happy", "sad", "whisper", "sing")
VOICE = MemoryVoices("rms").get("rms")


async def turn(events: Sequence[TurnEvent], asked: Style = PLAIN) -> list[TurnEvent | VoiceChange]:
    async def given() -> AsyncGenerator[TurnEvent, None]:
        for event in events:
            yield event

    return [event async for event in in_manner(given(), VOICE, asked, MANNERS)]


def manners(events: Sequence[TurnEvent | VoiceChange]) -> list[tuple[str, ...] | int]:
    """Return the manners in turn, and how many groups were spoken in each."""
    out: list[tuple[str, ...] | int] = [0]
    for event in events:
        if isinstance(event, VoiceChange):
            out += [event.manner, 0]
        elif isinstance(event, TokenGroup):
            assert isinstance(out[-1], int)
            out[-1] += 1
    return out


async def test_a_tag_in_front_holds_for_the_whole_answer() -> None:
    out = await turn(
        [TextDelta("(sa"), TextDelta("d) It is"), group(1), TextDelta(" noon."), group(2)]
    )
    assert manners(out) == [0, ("sad1",), 2, (), 0]
    texts = [event for event in out if isinstance(event, TextDelta)]
    assert [(text.text, text.tags) for text in texts] == [("It is", "(sad) "), (" noon.", "")]


async def test_the_sound_waits_for_a_tag_that_is_half_written() -> None:
    said: list[TurnEvent] = [
        TextDelta("(whis"),
        group(1),
        group(2),
        TextDelta("per)"),
        group(3),
        TextDelta(" Go."),
    ]
    out = await turn(said)
    assert manners(out) == [0, ("whisper",), 3, (), 0]
    assert manners(await turn([TextDelta("(no tag"), group(1), group(2)])) == [2]


async def test_a_tag_further_on_waits_for_the_words_before_it() -> None:
    said: list[TurnEvent] = [TextDelta("It is noon. (whisper) Go."), *[group(n) for n in range(12)]]
    out = manners(await turn(said))
    assert out[1] == ("whisper",)
    assert out[0] == round(len("It is noon. ") * 0.7)


async def test_speed_and_loudness_are_done_to_the_sound_and_other_tags_to_nothing() -> None:
    out = await turn([TextDelta("(fast 2)(loud) Go."), group(1)])
    changes = [event for event in out if isinstance(event, VoiceChange)]
    assert [(c.manner, c.speed, c.volume) for c in changes] == [((), 1.35, 1.6), ((), 1.0, 1.0)]
    assert manners(await turn([TextDelta("(angry)（粤语）(British) Go."), group(1)])) == [1]


async def test_the_style_of_a_session_holds_beside_a_tag_and_is_gone_back_to() -> None:
    asked = style_named("happy")
    assert asked is not None
    out = await turn([TextDelta("(whisper) Go."), group(1)], asked)
    assert manners(out) == [0, ("happy1", "whisper"), 1, ("happy1",), 0]
    assert manners(await turn([TextDelta("Go."), group(1)], asked)) == [1]


@pytest.mark.parametrize("aloud", [True, False])
async def test_nano_keeps_its_tags_in_its_history_and_out_of_what_is_shown(aloud: bool) -> None:
    shipped, opened = load_profile("nano"), list[tuple[str, ...]]()

    def in_this(names: tuple[str, ...]) -> SineVocoder:
        opened.append(names)
        return SineVocoder()

    answer = interleave(text_ids("(sad 2) It is noon."), [group(n) for n in range(8)], VOCAB)
    parts = replace(services(ScriptedEngine([answer])), in_manner=in_this)
    assistant = Assistant(parts, DialogSettings(**shipped.dialog.model_dump()))
    conversation = Conversation()
    conversation.add(Typed("q", "human", "what now"))
    events = [e async for e in assistant.answer(conversation, answer_id="a", aloud=aloud)]
    await assistant.aclose()
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "It is noon."
    said = conversation.get("a")
    assert isinstance(said, Answer)
    assert said.as_written == "(sad 2) It is noon."
    assert opened == ([("sad2",)] if aloud else [])


async def test_speech_without_a_manner_takes_the_usual_vocoder() -> None:
    shipped, usual = load_profile("nano"), SineVocoder()

    def in_manner(names: tuple[str, ...]) -> SineVocoder:
        raise AssertionError(names)

    parts = replace(
        services(ScriptedEngine([VOCAB.ids([group(1)])])), in_manner=in_manner, vocoder=usual
    )
    assistant = Assistant(parts, DialogSettings(**shipped.dialog.model_dump()))
    assert [chunk async for chunk in assistant.say("(粤语) It is noon.")]
    conversation = Conversation()
    conversation.add(Typed("q", "human", "what now"))
    async for _ in assistant.answer(conversation):
        pass
    await assistant.aclose()
    assert len(usual.seeds) == 2


async def test_a_session_reports_what_the_voice_does_and_nothing_else() -> None:
    shipped = load_profile("nano")
    parts = replace(services(ScriptedEngine([[]])), in_manner=lambda _: SineVocoder())
    assistant = Assistant(parts, DialogSettings(**shipped.dialog.model_dump()))
    reach = assistant.style_reach
    happy = SessionStyle(emotion="happy", dialect="British")
    assert happy.wire(reach)["applied"] == ["emotion"]
    assert happy.spoken(reach) == Style((), manners=("happy1",))
    assert "dialect" not in happy.wire(reach)["available"]
    rap = SessionStyle(emotion="sad", mode="rap", speed=5)
    assert rap.wire(reach)["applied"] == ["mode", "speed"]
    assert rap.spoken(reach).manners == ("rap",)
    assert SessionStyle(emotion="bored").wire(reach)["applied"] == []
    await assistant.aclose()
