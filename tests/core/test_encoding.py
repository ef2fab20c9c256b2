import io
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile

from step_audio.core.audio import wav_bytes
from step_audio.core.containers import sniffed
from step_audio.core.decoding import AudioTooLong, decode_audio
from step_audio.core.encoding import (
    FORMATS,
    AudioFormat,
    SoundFile,
    format_named,
    open_encoder,
)
from step_audio.core.errors import AudioError, InputError
from step_audio.core.types import Pcm

RATE_HZ = 24_000
COMPRESSED: tuple[AudioFormat, ...] = ("mp3", "opus", "aac", "flac")


def tone(seconds: float = 1.0, hz: float = 440.0) -> Pcm:
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.4 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def encoded(audio_format: AudioFormat, pcm: Pcm, cuts: tuple[int, ...] = ()) -> bytes:
    stage = open_encoder(audio_format, RATE_HZ)
    out = b"".join(
        piece
        for start, end in pairwise((0, *cuts, len(pcm)))
        for piece in stage.push(pcm[start:end])
    )
    return out + b"".join(stage.flush())


@pytest.mark.parametrize("audio_format", COMPRESSED)
def test_what_is_encoded_decodes_to_the_same_tone_and_length(audio_format: AudioFormat) -> None:
    data = encoded(audio_format, tone(1.5))
    pcm, rate_hz = decode_audio(io.BytesIO(data), 10)
    assert rate_hz == (48_000 if audio_format == "opus" else RATE_HZ)
    # Codecs of frames pad the first and the last one.
    assert abs(len(pcm) / rate_hz - 1.5) < 0.08
    middle = pcm[rate_hz // 2 : rate_hz]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(spectrum.argmax() * rate_hz / len(middle) - 440) < 4


@pytest.mark.parametrize("audio_format", FORMATS)
def test_how_the_sound_is_cut_changes_no_byte(audio_format: AudioFormat) -> None:
    pcm = tone(0.7)
    assert encoded(audio_format, pcm, (1, 777, 778, 9000)) == encoded(audio_format, pcm)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_bytes_come_with_the_first_quarter_second(audio_format: AudioFormat) -> None:
    stage = open_encoder(audio_format, RATE_HZ)
    sent = sum(len(piece) for _ in range(5) for piece in stage.push(tone(0.06)))
    assert sent > 300


@pytest.mark.parametrize("audio_format", FORMATS)
def test_an_empty_stream_ends_well(audio_format: AudioFormat) -> None:
    stage = open_encoder(audio_format, RATE_HZ)
    head = b"".join([*stage.push(tone(0.0)), *stage.flush()])
    assert len(head) == {"pcm": 0, "wav": 44}.get(audio_format, len(head))


@pytest.mark.parametrize("audio_format", [f for f in FORMATS if f != "pcm"])
@pytest.mark.parametrize("seconds", [0.0, 0.02, 1.5])
def test_a_file_tells_its_length_in_its_header(audio_format: AudioFormat, seconds: float) -> None:
    sink, pcm = io.BytesIO(), tone(seconds)
    file = SoundFile(sink, audio_format, RATE_HZ)
    for start in range(0, len(pcm), 5000):
        file.write(pcm[start : start + 5000])
    file.close()
    if seconds > 1:
        with av.open(io.BytesIO(sink.getvalue()), "r") as read:
            assert read.duration is not None
            # ffmpeg guesses at aac from its first frames; it has no header.
            slack_s = 1.0 if audio_format == "aac" else 0.05
            assert read.duration / 1e6 == pytest.approx(seconds, abs=slack_s)
        assert len(decode_audio(sink, 10)[0]) > 0
    if audio_format == "wav" or (audio_format == "flac" and seconds):
        with soundfile.SoundFile(io.BytesIO(sink.getvalue())) as whole:
            assert whole.frames == len(pcm)
            np.testing.assert_allclose(whole.read(), pcm, atol=1 / 32768)


def test_an_unknown_format_lists_the_known() -> None:
    assert format_named("opus") == "opus"
    with pytest.raises(InputError, match="wav, pcm, mp3, opus, aac, flac"):
        format_named("midi")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"\0\0\0 ftypM4A \0\0\0\0", "mp4"),
        (b"fLaC\0\0\0\0", "flac"),
        (b"OggS\0\2", "ogg"),
        (b"ID3\3", "mp3"),
        (b"\xff\xfb\x90", "mp3"),
        (b"\xff\xf1\x50", "aac"),
        (b"\x1a\x45\xdf\xa3", "matroska"),
        (b"#EXTM3U\n", None),
        (b"ffconcat version", None),
        (b"RIFF\0\0\0\0AVI LIST", None),
        (b"", None),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniffed(head) == kind


def test_decoding_stops_at_the_limit() -> None:
    data = encoded("flac", np.zeros(RATE_HZ * 60, np.float32))
    assert len(data) < 30_000  # a minute of silence is tiny: its size says nothing
    with pytest.raises(AudioTooLong, match="2 s"):
        decode_audio(io.BytesIO(data), 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not sound at all, not at all",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"RIFF\xff\xff\xff\xffWAVE" + b"\0" * 50,
        b"fLaC" + b"\xff" * 200,
        b"OggS" + bytes(range(256)),
        b"\x1a\x45\xdf\xa3" + b"\xff" * 100,
        b"\0\0\0\x18ftypmp42" + b"\0" * 64,
        wav_bytes(np.zeros(0, np.float32), 16_000),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(AudioError):
        decode_audio(io.BytesIO(data), 5)
