import io

import numpy as np
import pytest
import soundfile

from step_audio.core.decoding import MAX_RATE_HZ, AudioTooLong, decode_audio


def flac(rate_hz: int, seconds: float) -> io.BytesIO:
    """Return a tone of 440 Hz on both channels, half as loud on the second."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate_hz * seconds)) / rate_hz)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone, tone / 2], axis=1), rate_hz, format="FLAC")
    return file


@pytest.mark.parametrize(
    ("rate_hz", "comes_at_hz"), [(16_000, 16_000), (48_000, 48_000), (192_000, MAX_RATE_HZ)]
)
def test_a_rate_that_nobody_hears_is_brought_down_while_it_is_decoded(
    rate_hz: int, comes_at_hz: int
) -> None:
    pcm, got_hz = decode_audio(flac(rate_hz, 1.0), 2.0)
    assert got_hz == comes_at_hz
    assert len(pcm) == comes_at_hz
    heard_hz = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)))).argmax() * comes_at_hz / len(pcm)
    assert heard_hz == pytest.approx(440, abs=2)
    assert np.abs(pcm[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rate_hz", [16_000, 192_000])
def test_the_limit_is_in_seconds_at_any_rate(rate_hz: int) -> None:
    with pytest.raises(AudioTooLong):
        decode_audio(flac(rate_hz, 1.0), 0.9)
