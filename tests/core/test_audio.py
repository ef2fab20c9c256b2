import io
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.audio import (
    Rechunker,
    float_to_pcm16,
    pcm16_to_float,
    read_audio,
    wav_bytes,
    wav_header,
    write_wav,
)
from step_audio.core.errors import AudioError
from step_audio.core.types import Pcm
from tests import laws

RNG = np.random.default_rng(1)
PCM: Pcm = RNG.uniform(-0.9, 0.9, 3000).astype(np.float32)
CUTS = st.lists(st.integers(0, len(PCM)), max_size=12)


def test_pcm16_round_trip_is_exact() -> None:
    data = np.arange(-32768, 32768, dtype="<i2").tobytes()
    assert float_to_pcm16(pcm16_to_float(data)) == data


def test_loud_samples_are_clipped_not_wrapped() -> None:
    loud = np.array([2.0, -2.0], dtype=np.float32)
    assert float_to_pcm16(loud) == np.array([32767, -32768], dtype="<i2").tobytes()


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(AudioError, match="even"):
        pcm16_to_float(b"abc")


@given(cuts=CUTS)
def test_rechunker_does_not_care_how_its_input_is_cut(cuts: list[int]) -> None:
    laws.chunking_is_invisible(lambda: Rechunker(320), PCM, cuts)


def test_rechunker_gives_full_frames_and_the_rest_at_flush() -> None:
    stage = Rechunker(1000)
    assert [len(frame) for frame in stage.push(PCM[:2500])] == [1000, 1000]
    assert [len(frame) for frame in stage.flush()] == [500]


def test_written_wav_reads_back(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", PCM, 22050)
    pcm, rate_hz = read_audio(tmp_path / "a.wav")
    assert rate_hz == 22050
    np.testing.assert_allclose(pcm, PCM, rtol=0, atol=1 / 32768)
    assert [f.name for f in tmp_path.iterdir()] == ["a.wav"]


def test_a_wav_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot write"):
        write_wav(tmp_path / "missing" / "a.wav", PCM, 22050)
    (tmp_path / "dir.wav").mkdir()
    with pytest.raises(AudioError, match="cannot write"):
        write_wav(tmp_path / "dir.wav", PCM, 22050)
    assert [f.name for f in tmp_path.iterdir()] == ["dir.wav"]


def test_wav_header_says_what_the_wave_module_says() -> None:
    assert wav_header(24000, 2 * len(PCM)) == wav_bytes(PCM, 24000)[:44]


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1)
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(float_to_pcm16(stereo.astype(np.float32).reshape(-1)))
    np.testing.assert_allclose(read_audio(path)[0], 0.125, atol=1e-4)


def float_wav(pcm: Pcm, path: Path) -> None:
    import soundfile  # noqa: PLC0415

    soundfile.write(path, pcm, 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("pcm", "message"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros(800, np.float32), "silent"),
        (np.full(800, np.nan, np.float32), "silent"),
        (np.full(17000, 0.1, np.float32), "longer than 1 s"),
    ],
)
def test_unusable_sound_is_refused_in_one_line(tmp_path: Path, pcm: Pcm, message: str) -> None:
    float_wav(pcm, tmp_path / "bad.wav")
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(tmp_path / "bad.wav", max_seconds=1.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all", b"RIFF" + bytes(60)])
def test_a_file_that_is_not_audio_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"not audio|no samples|empty|damaged"):
        read_audio(tmp_path / "x.wav")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(AudioError, match="no file"):
            read_audio(path)


def test_a_streamed_header_with_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    data = io.BytesIO(wav_header(16000, 0xFFFFFFFF) + float_to_pcm16(PCM))
    (tmp_path / "s.wav").write_bytes(data.getvalue())
    assert len(read_audio(tmp_path / "s.wav")[0]) == len(PCM)
