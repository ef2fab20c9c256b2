"""Speed and volume: the laws of stages, and that pitch and words stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from step_audio.core.delivery import Tempo, open_delivery
from step_audio.core.errors import InputError
from step_audio.core.types import Pcm
from tests import laws

RATE_HZ = 22_050
SPEEDS = (0.25, 0.5, 0.8, 1.25, 1.5, 2.0, 4.0)


def tone(seconds: float, hz: float = 220.0) -> Pcm:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (0.4 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


@settings(deadline=None, max_examples=20)
@example(cuts=[1146], speed=4.0)
@given(cuts=st.lists(st.integers(0, 20_000), max_size=6), speed=st.sampled_from(SPEEDS))
def test_it_does_not_matter_how_speech_is_cut(cuts: list[int], speed: float) -> None:
    laws.chunking_is_invisible(lambda: Tempo(RATE_HZ, speed), tone(1.0)[:20_000], cuts)


@pytest.mark.parametrize("speed", SPEEDS)
def test_streams_are_isolated(speed: float) -> None:
    laws.streams_are_isolated(lambda: Tempo(RATE_HZ, speed), tone(0.7), tone(0.6, 330))


@settings(deadline=None, max_examples=20)
@given(samples=st.integers(0, 30_000), speed=st.sampled_from((*SPEEDS, 1.0)))
def test_the_length_is_exact(samples: int, speed: float) -> None:
    laws.flush_is_final_and_total(
        lambda: open_delivery(RATE_HZ, speed=speed), tone(2.0)[:samples], round(samples / speed)
    )


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_pitch_stays(speed: float) -> None:
    out = laws.run(Tempo(RATE_HZ, speed), [tone(2.0)])
    middle = out[len(out) // 4 : 3 * len(out) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * RATE_HZ / len(middle) == pytest.approx(220, abs=2)
    assert np.std(middle) == pytest.approx(np.std(tone(2.0)), rel=0.03)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_events_fall_where_the_speed_puts_them(speed: float) -> None:
    """Three bursts: each is heard at its time divided by the speed, within half a window."""
    pcm = np.zeros(3 * RATE_HZ, np.float32)
    for at_s in (0.5, 1.5, 2.5):
        at = int(at_s * RATE_HZ)
        pcm[at - 1100 : at + 1100] = tone(0.1)[:2200]
    out = np.abs(laws.run(Tempo(RATE_HZ, speed), [pcm]))
    for at_s in (0.5, 1.5, 2.5):
        at = int(at_s / speed * RATE_HZ)
        near = slice(max(0, at - RATE_HZ // 6), at + RATE_HZ // 6)
        centre = np.average(np.arange(near.start, near.start + len(out[near])), weights=out[near])
        assert abs(centre - at) < 0.03 * RATE_HZ


def test_at_speed_one_nothing_is_changed_or_held_back() -> None:
    stage, pcm = open_delivery(RATE_HZ), tone(0.1)
    assert [piece is pcm for piece in stage.push(pcm)] == [True]
    assert list(stage.flush()) == []


def test_louder_speech_is_bent_and_never_cut() -> None:
    pcm = np.linspace(-1, 1, 2001, dtype=np.float32)
    loud = laws.run(open_delivery(RATE_HZ, volume=3.0), [pcm])
    assert np.abs(loud).max() <= 1.0
    assert (np.diff(loud) >= 0).all()  # one level never overtakes another
    np.testing.assert_allclose(loud[900:1100], 3 * pcm[900:1100], rtol=1e-6)
    quiet = laws.run(open_delivery(RATE_HZ, volume=0.25), [pcm])
    np.testing.assert_allclose(quiet, pcm / 4)


def test_speed_and_volume_go_together() -> None:
    both = laws.run(open_delivery(RATE_HZ, speed=2.0, volume=0.5), [tone(1.0)])
    alone = laws.run(open_delivery(RATE_HZ, speed=2.0), [tone(1.0)])
    np.testing.assert_allclose(both, alone / 2, atol=1e-6)


@pytest.mark.parametrize(
    "wanted", [{"speed": 0.2}, {"speed": 4.1}, {"speed": float("nan")}, {"volume": -0.1}]
)
def test_what_cannot_be_is_refused(wanted: dict[str, float]) -> None:
    with pytest.raises(InputError, match="outside"):
        open_delivery(RATE_HZ, **wanted)
