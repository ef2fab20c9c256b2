"""Words while they are spoken: only stable ones are shown, and little is left at the end."""

from __future__ import annotations

import asyncio

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import EngineError
from step_audio.core.ports import RecognitionHints
from step_audio.core.types import Transcript
from step_audio.dialog.recognition.live import LiveRecognition
from step_audio.dialog.recognition.recognition import NO_HINTS, Recognition
from step_audio.dialog.recognition.speech import (
    SETTLE_S,
    RecognizedSoFar,
    joined,
    rest_of,
    words,
)
from step_audio.dialog.turns.utterance import Utterance
from tests.fakes import FixedClock, MemoryRecorder, ScriptedRecognizer

WORDS = [f"word{n}" for n in range(60)]
TENTH = np.full(1600, 0.1, np.float32)


class Bench:
    """An utterance of words of a quarter of a second each, heard by a scripted recognizer."""

    def __init__(self, *, live: bool = True) -> None:
        self.ear = ScriptedRecognizer(WORDS)
        self.shown: list[str] = []
        self.recognition = Recognition(self.ear, FixedClock(), MemoryRecorder(), live=live)
        self.live = LiveRecognition(self.recognition, self.shown.append)
        self.question = Utterance(None, 16000, max_s=60, keeps_sound=True)

    async def speak(self, seconds: float, hints: RecognitionHints = NO_HINTS) -> None:
        for _ in range(round(seconds * 10)):
            self.question.push(TENTH)
            self.live.follow(self.question, hints)
            for _ in range(8):
                await asyncio.sleep(0)


async def test_words_are_shown_while_they_are_spoken_and_only_once() -> None:
    bench = Bench()
    await bench.speak(5.0)
    said = "".join(bench.shown)
    assert len(bench.shown) > 3
    assert said.split() == WORDS[: len(said.split())]
    assert len(said.split()) >= 14
    assert all(live for _, _, live in bench.ear.asked)


async def test_what_is_stable_is_given_to_the_next_pass() -> None:
    bench = Bench()
    await bench.speak(5.0)
    question = bench.question.finish()
    bench.live.pause(question, NO_HINTS)
    assert question.speech is not None
    heard = await bench.recognition.words(question.speech)
    assert heard == Transcript(" ".join(WORDS[:20]), "en")
    seconds, hints, live = bench.ear.asked[-1]
    assert not live
    assert seconds == 5.0
    assert hints.begins.split() == WORDS[: len(hints.begins.split())]
    assert len(hints.begins.split()) >= 14
    assert (
        rest_of(heard.text, "".join(bench.shown)).split()
        == WORDS[len("".join(bench.shown).split()) : 20]
    )


async def test_a_pause_begins_the_last_pass_and_the_end_of_the_turn_begins_none() -> None:
    bench = Bench()
    await bench.speak(2.0)
    paused = bench.question.so_far()
    bench.live.pause(paused, NO_HINTS)
    count = len(bench.ear.asked)
    await bench.speak(0.5)
    assert paused.speech is not None
    assert (await bench.recognition.words(paused.speech)).text == " ".join(WORDS[:8])
    assert len(bench.ear.asked) == count + 1


async def test_long_speech_before_a_pause_is_not_recognized_again() -> None:
    bench = Bench()
    await bench.speak(SETTLE_S + 1)
    bench.live.pause(bench.question.so_far(), NO_HINTS)
    bench.live.resume()
    await bench.speak(3.0)
    question = bench.question.finish()
    assert question.speech is not None
    heard = await bench.recognition.words(question.speech)
    assert heard.text.split() == WORDS[: round((SETTLE_S + 4) * 4)]
    assert bench.ear.asked[-1][0] == 3.0
    assert heard.text.startswith("".join(bench.shown))


async def test_short_speech_before_a_pause_is_recognized_with_what_follows() -> None:
    bench = Bench()
    await bench.speak(1.0)
    bench.live.pause(bench.question.so_far(), NO_HINTS)
    bench.live.resume()
    await bench.speak(1.0)
    question = bench.question.finish()
    assert question.speech is not None
    await bench.recognition.words(question.speech)
    assert bench.ear.asked[-1][0] == 2.0


async def test_an_operator_may_leave_it_to_the_end() -> None:
    bench = Bench(live=False)
    await bench.speak(3.0)
    bench.live.pause(bench.question.so_far(), NO_HINTS)
    assert not bench.ear.asked
    assert not bench.shown


async def test_a_pass_that_fails_is_no_error_of_the_session() -> None:
    bench = Bench()
    bench.ear.error = EngineError("gone")
    await bench.speak(2.0)
    bench.ear.error = None
    await bench.speak(2.0)
    assert bench.shown
    await bench.live.close()


async def test_a_clients_hints_reach_every_pass() -> None:
    bench = Bench()
    await bench.speak(2.0, RecognitionHints("en", "names"))
    assert {h.language for _, h, _ in bench.ear.asked} == {"en"}
    assert all(h.context.startswith("names") for _, h, _ in bench.ear.asked)


def test_words_that_change_are_not_shown_and_shown_ones_stay() -> None:
    so_far = RecognizedSoFar()
    assert so_far.passed("What time") == ""
    assert so_far.passed("What time is") == "What time"
    assert so_far.passed("What dime is it") == ""
    assert so_far.passed("What time is it in") == ""
    assert so_far.passed("What time is it in Rome") == " is it in"
    assert so_far.shown == "What time is it in"


def test_scripts_without_spaces_go_by_the_character() -> None:
    so_far = RecognizedSoFar()
    assert words("今天天气") == ["今", "天", "天", "气"]
    so_far.passed("今天天")
    assert so_far.passed("今天天气") == "今天天"
    assert joined("今天。", "天气") == "今天。天气"
    assert joined("One.", "Two.") == "One. Two."


@given(st.text(max_size=40), st.text(max_size=40))
def test_words_joined_are_the_text_and_rests_join_to_it(first: str, second: str) -> None:
    text = first + second
    assert "".join(words(text)) == text.rstrip() or text.isspace() or not text
    rest = rest_of(text, text)
    assert not rest.strip()
