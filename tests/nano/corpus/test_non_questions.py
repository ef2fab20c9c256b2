"""Sound that asks nothing: bounded, seeded, and apart from what the examination plays."""

from __future__ import annotations

import random

import numpy as np

from step_audio.nano.corpus.non_questions import FOREIGN, foreign_job, no_speech
from step_audio.nano.exam.questions import FOREIGN as EXAMINED


def test_no_language_of_the_examination_is_learned() -> None:
    assert not {code for code, _ in EXAMINED} & set(FOREIGN)


def test_every_sentence_can_be_spoken() -> None:
    rng = random.Random(1)
    voices = {foreign_job(rng).speaker.voice.split("+")[0] for _ in range(400)}
    assert voices == set(FOREIGN)


def test_noises_are_bounded_sounds_of_many_kinds_and_the_same_again() -> None:
    def drawn(seed: int) -> list[np.ndarray]:
        rng, noise = random.Random(seed), np.random.default_rng(seed)
        return [no_speech(rng, noise) for _ in range(30)]

    sounds = drawn(3)
    assert all(s.dtype == np.float32 and 8000 <= len(s) <= 48_000 for s in sounds)
    peaks = [float(np.abs(s).max()) for s in sounds]
    assert max(peaks) <= 0.2
    assert max(peaks) > 100 * min(peaks)
    assert all(np.array_equal(a, b) for a, b in zip(sounds, drawn(3), strict=True))
