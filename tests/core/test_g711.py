import numpy as np
import pytest

from step_audio.core.g711 import Law, decode, encode

EVERY = bytes(range(256))


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_every_byte_survives_the_way_back(law: Law) -> None:
    values = decode(EVERY, law)
    again = decode(encode(values, law), law)
    np.testing.assert_array_equal(again, values)
    assert np.abs(values).max() < 1


@pytest.mark.parametrize(
    ("law", "code", "value"),
    [
        ("ulaw", 0xFF, 0),
        ("ulaw", 0x00, -32124),
        ("ulaw", 0x80, 32124),
        ("ulaw", 0xF0, 120),
        ("alaw", 0xD5, 8),
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32256),
        ("alaw", 0x2A, -32256),
    ],
)
def test_values_of_the_recommendation(law: Law, code: int, value: int) -> None:
    assert decode(bytes([code]), law)[0] * 32768 == value


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_a_tone_comes_through_with_little_noise(law: Law) -> None:
    tone = (0.5 * np.sin(np.arange(8000) / 7)).astype(np.float32)
    noise = decode(encode(tone, law), law) - tone
    assert 10 * np.log10((tone**2).mean() / (noise**2).mean()) > 35
    assert len(encode(np.array([3.0, -3.0], np.float32), law)) == 2
