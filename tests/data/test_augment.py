import numpy as np
import pytest

from step_audio.data import augment as a

TONE = (0.3 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.float32)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(20))
def test_augmented_speech_keeps_length_type_and_range(seed: int) -> None:
    out = a.augment(TONE, _rng(seed), 1.0, babble=[TONE[:5000]])
    assert out.shape == TONE.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1.0


def test_equal_seeds_give_equal_sound() -> None:
    np.testing.assert_array_equal(a.augment(TONE, _rng(3), 1.0), a.augment(TONE, _rng(3), 1.0))


def test_strength_zero_changes_nothing_and_empty_stays_empty() -> None:
    assert a.augment(TONE, _rng(), 0.0) is TONE
    assert len(a.augment(TONE[:0], _rng(), 1.0)) == 0


def test_room_and_equaliser_keep_the_time_of_a_click() -> None:
    click = np.zeros(8_000, dtype=np.float32)
    click[3_000] = 1.0
    assert int(np.abs(a.room(click, _rng())).argmax()) == 3_000
    assert int(np.abs(a.equalise(click, _rng())).argmax()) == 3_000


def test_noise_is_mixed_at_the_stated_ratio() -> None:
    noise = a.coloured_noise(len(TONE), _rng())
    added = a.mix(TONE, noise, 12.0) - TONE
    ratio_db = 10 * np.log10((TONE @ TONE) / (added @ added))
    assert ratio_db == pytest.approx(12.0, abs=0.05)


def test_telephone_removes_what_a_telephone_removes() -> None:
    high = np.sin(np.arange(16_000) * 2 * np.pi * 6_000 / 16_000).astype(np.float32)
    low = np.sin(np.arange(16_000) * 2 * np.pi * 1_000 / 16_000).astype(np.float32)
    assert np.square(a.telephone(high)).mean() < 0.01 * np.square(high).mean()
    assert np.square(a.telephone(low)).mean() > 0.9 * np.square(low).mean()


def test_mu_law_is_within_its_quantisation_error() -> None:
    assert np.abs(a.mu_law(TONE) - TONE).max() < 0.3 * 0.025


def test_warp_moves_length_and_pitch_together() -> None:
    fast = a.warp(TONE, _rng(), low=1.2, high=1.2)
    assert len(fast) == pytest.approx(16_000 / 1.2, abs=16)
    peak_hz = np.abs(np.fft.rfft(fast)).argmax() * 16_000 / len(fast)
    assert peak_hz == pytest.approx(440 * 1.2, rel=0.01)


def test_pauses_carry_a_faint_floor() -> None:
    padded = a.pad_noise(TONE, 0.1, 0.2, _rng())
    assert len(padded) == 16_000 + 4_800
    assert 0 < np.abs(padded[:1_600]).max() < 0.01
