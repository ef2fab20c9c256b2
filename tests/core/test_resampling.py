import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audio.core.errors import AudioError
from step_audio.core.resampling import StreamResampler, resample
from step_audio.core.types import Pcm
from tests import laws

PCM: Pcm = np.random.default_rng(1).uniform(-0.9, 0.9, 3000).astype(np.float32)
CUTS = st.lists(st.integers(0, len(PCM)), max_size=12)
RATES = [
    (24000, 16000, 6),
    (24000, 16000, 32),
    (48000, 16000, 6),
    (22050, 24000, 6),
    (44101, 16000, 6),
]


@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [
        (24000, 16000),
        (16000, 24000),
        (22050, 24000),
        (44100, 16000),
        (8000, 24000),
        (48000, 16000),
    ],
)
def test_resampler_equals_torchaudio(from_hz: int, to_hz: int) -> None:
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchaudio.transforms")
    want = transforms.Resample(from_hz, to_hz)(torch.from_numpy(PCM)).numpy()
    np.testing.assert_allclose(resample(PCM, from_hz, to_hz), want, rtol=0, atol=1e-5)


@given(cuts=CUTS, rates=st.sampled_from(RATES))
@settings(deadline=None, max_examples=40)
def test_resampler_does_not_care_how_its_input_is_cut(
    cuts: list[int], rates: tuple[int, int, int]
) -> None:
    from_hz, to_hz, crossings = rates
    laws.chunking_is_invisible(
        lambda: StreamResampler(from_hz, to_hz, crossings=crossings), PCM, cuts
    )


@given(length=st.integers(0, 300))
@settings(deadline=None)
def test_resampler_accounts_for_every_sample(length: int) -> None:
    assert len(resample(PCM[:length], 24000, 16000)) == -(-length * 2 // 3)


def test_resampler_between_equal_rates_changes_nothing() -> None:
    np.testing.assert_array_equal(resample(PCM, 16000, 16000), PCM)


def test_resampled_streams_are_isolated() -> None:
    laws.streams_are_isolated(lambda: StreamResampler(24000, 16000), PCM, PCM[::-1].copy())


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(AudioError, match="outside"):
        StreamResampler(0, 16000)


@pytest.mark.parametrize("rates", [(24000, 16000), (44101, 16000)])
def test_whatever_the_samples_are_kept_in_float32_comes_out(rates: tuple[int, int]) -> None:
    wide = resample(PCM.astype(np.float64), *rates)
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide, resample(PCM, *rates))


def test_a_copied_resampler_goes_on_alone() -> None:
    laws.a_copy_goes_on_alone(lambda: StreamResampler(24000, 16000, crossings=32), PCM, 1111)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 48_000])
def test_a_sine_in_chunks_leaves_the_vocoder_at_every_rate_without_a_click(rate_hz: int) -> None:
    """Chunks of a group at the vocoder's 22.05 kHz: equal to one piece, and to the sine itself."""
    t = np.arange(2646 * 6) / 22_050
    sine = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    stage = StreamResampler(22_050, rate_hz)
    out = [piece for chunk in np.split(sine, 6) for piece in stage.push(chunk)]
    got = np.concatenate([*out, *stage.flush()])
    np.testing.assert_array_equal(got, resample(sine, 22_050, rate_hz))
    assert len(got) == -(-len(sine) * rate_hz // 22_050)
    exact = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(got)) / rate_hz)
    inner = slice(rate_hz // 100, -rate_hz // 100)
    np.testing.assert_allclose(got[inner], exact[inner], atol=0.004)
