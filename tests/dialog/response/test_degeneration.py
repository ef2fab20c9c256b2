"""What ends an answer early, and what does not."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.types import TextDelta, TokenGroup
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.response.degeneration import (
    DegenerationGuard,
    Periodicity,
    Reason,
    speaking_s,
)
from step_audio.dialog.response.parser import TokenParser
from tests.fakes import VOCAB, ByteTokenizer, group, numbered, text_ids

GROUPS = [group(n) for n in range(400)]


def watch(guard: DegenerationGuard, ids: Iterable[int]) -> tuple[Reason | None, int]:
    """Return why the guard stopped, and after how many ids."""
    parser = TokenParser(ByteTokenizer(), VOCAB, numbered("call"))
    at = 0
    for at, token_id in enumerate(ids, 1):
        reason = guard.push(token_id, list(parser.push(token_id)))
        if reason is not None:
            return reason, at
    return None, at


@given(
    before=st.lists(st.integers(0, 5), max_size=20),
    period=st.lists(st.integers(0, 5), min_size=1, max_size=16),
)
def test_any_loop_is_noticed_soon_after_it_is_one(before: list[int], period: list[int]) -> None:
    loop = Periodicity(24)
    sequence = before + period * (4 + 24 // len(period))
    limit = len(before) + max(24, 4 * len(period)) + 1
    noticed = [at for at, item in enumerate(sequence, 1) if loop.push(item)]
    assert noticed
    assert noticed[0] <= limit


def test_random_sequences_are_no_loops() -> None:
    draw = random.Random(0)
    for size in (3, 10, 100):
        loop = Periodicity(24)
        assert not any(loop.push(draw.randrange(size)) for _ in range(3000))


def test_an_ordinary_answer_is_left_alone() -> None:
    text = "Twelve plus thirty is forty two, and that is the answer to your question."
    spoken = interleave(text_ids(text), GROUPS[:45], VOCAB)  # 5.4 s
    assert watch(DegenerationGuard(VOCAB), [6, *text_ids("what is it"), 7, *spoken]) == (
        None,
        len(spoken) + 12,
    )


def test_slow_speech_and_pauses_are_left_alone() -> None:
    slow = interleave(text_ids("Twinkle, twinkle, little star."), GROUPS[:70], VOCAB)  # 8.4 s
    pause = VOCAB.ids([group(1)] * 20)  # 2.4 s
    assert watch(DegenerationGuard(VOCAB), slow)[0] is None
    assert (
        watch(DegenerationGuard(VOCAB), [*text_ids("Well, let me think about this."), *pause])[0]
        is None
    )


def test_a_loop_in_the_words_ends_the_answer() -> None:
    reason, at = watch(DegenerationGuard(VOCAB), text_ids("and so " * 40))
    assert reason == "text_loop"
    assert at <= 7 * 4 + 48


def test_a_loop_inside_a_transcript_ends_it_too() -> None:
    assert watch(DegenerationGuard(VOCAB), [6, *text_ids("la" * 100)])[0] == "text_loop"


@pytest.mark.parametrize("period", [1, 3, 8])
def test_a_loop_in_the_sound_ends_the_answer(period: int) -> None:
    ids = [*text_ids("word " * 9 + "once"), *VOCAB.ids(GROUPS[:period] * 40)]
    reason, at = watch(DegenerationGuard(VOCAB), ids)
    assert reason == "audio_loop"
    assert at <= 49 + 5 * (max(25, 4 * period) + 1)


def test_sound_that_runs_on_after_the_words_ends_the_answer() -> None:
    reason, at = watch(DegenerationGuard(VOCAB), [*text_ids("Hello."), *VOCAB.ids(GROUPS)])
    assert reason == "audio_runs_on"
    assert 4.0 < (at - 6) / 5 * 0.12 < 6.0


def test_reading_aloud_is_measured_by_the_text_that_is_read() -> None:
    text = "A sentence to read aloud, of ordinary length."
    guard = DegenerationGuard(VOCAB, text=text)
    assert watch(guard, VOCAB.ids(GROUPS[:60]))[0] is None  # 7.2 s
    assert watch(DegenerationGuard(VOCAB, text=text), VOCAB.ids(GROUPS))[0] == "audio_runs_on"


def test_sound_without_any_words_is_not_measured_by_them() -> None:
    assert watch(DegenerationGuard(VOCAB), VOCAB.ids(GROUPS))[0] is None


def test_time_to_speak_counts_letters_digits_and_ideographs() -> None:
    assert speaking_s("") == 0
    assert speaking_s("2025") == pytest.approx(2.0)
    assert speaking_s("你好，世界。") == pytest.approx(1.0)
    assert 2.0 < speaking_s("The quick brown fox jumps over the dog.") < 3.5


def test_events_alone_are_enough() -> None:
    guard = DegenerationGuard(VOCAB)
    assert guard.push(300, [TextDelta("a")]) is None
    assert guard.push(1000, [TokenGroup((0, 0), (0, 0, 0))]) is None
