"""What can be heard of strangers' sound files. The families are those of public bug reports."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from step_audio.core.decoding import MAX_RATE_HZ, AudioTooLong, decode_sound
from step_audio.core.demuxing import MAX_CHANNELS
from step_audio.core.errors import AudioError
from step_audio.core.types import DecodedSound, Pcm
from tests.sound_files import KINDS, a_tone_of, id3_tag, overwritten, sound_file, tone

LEVEL = 0.3 / np.sqrt(2)
COMPRESSED = ("flac", "mp3", "ogg", "webm", "m4a", "fragmented m4a", "aac")
RAW = ("mp3", "aac", "flac")


def level(pcm: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(pcm.astype(np.float64) ** 2)))


def heard(data: bytes, max_seconds: float = 60.0) -> DecodedSound:
    sound = decode_sound(data, max_seconds)
    assert np.isfinite(sound.pcm).all()
    assert np.abs(sound.pcm).max() <= 1
    return sound


def flac(rate_hz: int, seconds: float) -> bytes:
    """Return a tone of 440 Hz on both channels, half as loud on the second."""
    sound = tone(seconds, rate_hz, 2) / 0.6
    sound[:, 1] /= 2
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize(
    ("rate_hz", "comes_at_hz"), [(16_000, 16_000), (48_000, 48_000), (192_000, MAX_RATE_HZ)]
)
def test_a_rate_that_nobody_hears_is_brought_down_while_it_is_decoded(
    rate_hz: int, comes_at_hz: int
) -> None:
    sound = heard(flac(rate_hz, 1.0), 2.0)
    pcm = sound.pcm
    assert sound.rate_hz == comes_at_hz
    assert len(pcm) == comes_at_hz
    heard_hz = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)))).argmax() * comes_at_hz / len(pcm)
    assert heard_hz == pytest.approx(440, abs=2)
    assert np.abs(pcm[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rate_hz", [16_000, 192_000])
def test_the_limit_is_in_seconds_at_any_rate(rate_hz: int) -> None:
    with pytest.raises(AudioTooLong):
        decode_sound(flac(rate_hz, 1.0), 0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_heard_without_a_warning(kind: str) -> None:
    sound = heard(a_tone_of(kind))
    assert sound.warnings == ()
    assert sound.seconds == pytest.approx(2.0, abs=0.1)
    assert level(sound.pcm) == pytest.approx(LEVEL, rel=0.06)


@pytest.mark.parametrize("channels", range(1, MAX_CHANNELS + 1))
def test_family_1_a_wav_of_any_number_of_channels_is_heard(channels: int) -> None:
    sound = heard(sound_file("wav", tone(0.3, 16_000, channels), 16_000))
    assert (len(sound.pcm), sound.rate_hz) == (4800, 16_000)
    assert level(sound.pcm) == pytest.approx(LEVEL, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [(k, c) for k in ("flac", "m4a", "aac", "ogg", "webm") for c in (2, 3, 6, 8)],
)
def test_family_1_channels_of_every_codec_are_heard(kind: str, channels: int) -> None:
    sound = heard(a_tone_of(kind, 0.5, channels))
    assert level(sound.pcm[2000:-2000]) == pytest.approx(LEVEL, rel=0.15)


def test_family_1_more_channels_than_anybody_has_are_refused() -> None:
    with pytest.raises(AudioError, match="65 channels at 16000 Hz; convert it"):
        decode_sound(sound_file("wav", tone(0.1, 16_000, 65), 16_000), 5)


@pytest.mark.parametrize("at", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_family_2_a_damaged_frame_costs_only_itself(kind: str, at: float) -> None:
    sound = heard(overwritten(a_tone_of(kind, 6.0), at=at))
    assert sound.seconds == pytest.approx(6.0, abs=0.5)
    assert level(sound.pcm) == pytest.approx(LEVEL, rel=0.3)
    assert sound.warnings
    assert "skipped" in sound.warnings[0]


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "m4a"])
def test_family_2_a_file_that_was_cut_is_heard_up_to_there(kind: str, share: float) -> None:
    whole = a_tone_of(kind, 6.0)
    sound = heard(whole[: int(len(whole) * share)])
    assert sound.seconds == pytest.approx(6.0 * share, abs=1.05)
    assert level(sound.pcm) == pytest.approx(LEVEL, rel=0.1)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "webm", "aiff", "au"])
def test_family_2_what_a_header_promised_and_is_not_there_is_said(kind: str) -> None:
    whole = a_tone_of(kind, 6.0)
    (warning,) = heard(whole[: len(whole) // 2]).warnings
    assert float(warning.split(" s ")[0]) == pytest.approx(3.0, abs=1.1)


@pytest.mark.parametrize("kind", KINDS)
def test_family_2_tags_and_junk_in_front_are_passed_over(kind: str) -> None:
    whole = a_tone_of(kind)
    plain = heard(whole)
    tagged = heard(id3_tag() + id3_tag(20) + whole)
    np.testing.assert_array_equal(tagged.pcm, plain.pcm)
    assert tagged.warnings == ()
    if kind in ("aiff", "caf", "au"):
        return
    junk = heard(b"HTTP/1.1 200 OK\r\nContent-Type: audio\r\n\r\n" + whole)
    np.testing.assert_array_equal(junk.pcm, plain.pcm)
    assert junk.warnings == ("40 bytes in front of the sound were skipped",)


@pytest.mark.parametrize("cut", [1, 100, 777, 3001])
@pytest.mark.parametrize("kind", RAW)
def test_family_2_a_file_that_begins_within_a_frame_is_heard_from_the_next(
    kind: str, cut: int
) -> None:
    whole = a_tone_of(kind, 3.0)
    start = cut + (9000 if kind == "flac" else 0)  # FLAC's head and its padding are 8 kB
    sound = heard(whole[start:])
    assert sound.seconds > 0.85 * 3.0 * (len(whole) - start) / len(whole) - 0.3
    assert level(sound.pcm) == pytest.approx(LEVEL, rel=0.1)


def test_family_2_a_page_of_an_ogg_that_was_cut_is_heard_up_to_there() -> None:
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(2).standard_normal(32_000)
    soundfile.write(file, noise, 16_000, format="OGG", subtype="VORBIS")
    whole = file.getvalue()
    page = whole.rfind(b"OggS")
    sound = heard(whole[: (page + len(whole)) // 2])
    before = decode_sound(whole[:page], 5)
    assert before.seconds < sound.seconds < 2.0
    assert sound.warnings


def test_family_2_a_wav_whose_length_was_never_brought_up_to_date_is_heard_whole() -> None:
    wav = bytearray(a_tone_of("wav", 1.0))
    wav[40:44] = (8000).to_bytes(4, "little")
    assert heard(bytes(wav)).seconds == 1.0


def test_family_2_samples_that_are_no_numbers_are_silence() -> None:
    pcm = tone(1.0, 16_000)[:, 0]
    pcm[100:200], pcm[300:310], pcm[400] = np.nan, np.inf, -1e30
    file = io.BytesIO()
    soundfile.write(file, pcm, 16_000, format="WAV", subtype="FLOAT")
    sound = heard(file.getvalue())
    assert not sound.pcm[100:200].any()
    assert sound.pcm[201:299].any()
    assert sound.warnings == ("111 samples that are no numbers were taken for silence",)


def test_family_2_whole_numbers_written_as_floats_are_heard_at_their_level() -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(1.0, 16_000) * 32_768, 16_000, format="WAV", subtype="FLOAT")
    assert level(heard(file.getvalue()).pcm) == pytest.approx(LEVEL, rel=0.01)


@pytest.mark.parametrize(
    ("first", "second"), [((44_100, 1), (16_000, 2)), ((8000, 2), (48_000, 1))]
)
@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4a", "aac"])
def test_family_3_rate_and_channels_may_change_within_a_file(
    kind: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    parts = [sound_file(kind, tone(1.5, hz, c, 440), hz) for hz, c in (first, second)]
    sound = heard(b"".join(parts))
    assert sound.rate_hz == max(first[0], second[0])
    assert sound.seconds == pytest.approx(3.0, abs=0.25)
    for half in np.split(sound.pcm[: len(sound.pcm) // 2 * 2], 2):
        spectrum = np.abs(np.fft.rfft(half * np.hanning(len(half))))
        assert spectrum.argmax() * sound.rate_hz / len(half) == pytest.approx(440, abs=3)
        assert level(half) == pytest.approx(LEVEL, rel=0.15)


@pytest.mark.parametrize(
    "kinds",
    [
        ("ogg", "ogg"),
        ("webm", "webm"),
        ("mp3", "wav"),
        ("wav", "mp3"),
        ("m4a", "wav"),
        ("webm", "mp3"),
        ("ogg", "flac"),
        ("flac", "ogg"),
        ("fragmented m4a", "aac"),
    ],
)
def test_family_3_files_that_were_joined_follow_each_other(kinds: tuple[str, str]) -> None:
    first, second = (a_tone_of(kind, 1.0, n) for n, kind in enumerate(kinds, start=1))
    sound = heard(first + second)
    assert sound.seconds == pytest.approx(2.0, abs=0.15)
    assert level(sound.pcm) == pytest.approx(LEVEL, rel=0.1)


def test_family_3_a_tag_with_a_picture_between_two_mp3s_is_no_noise() -> None:
    sound = heard(a_tone_of("mp3", 1.0) + id3_tag(100_000) + a_tone_of("mp3", 1.0, 2))
    assert sound.seconds == pytest.approx(2.0, abs=0.15)
    assert np.abs(sound.pcm).max() < 0.35


def test_family_3_a_part_that_cannot_be_read_is_said() -> None:
    wav = a_tone_of("wav", 1.0)
    sound = heard(wav + wav[:40])
    assert sound.seconds == 1.0
    assert sound.warnings == ("40 bytes that hold no sound were skipped",)


def mixed(make: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]) -> Pcm:
    """Return what is heard of channels that are made of 2 s of noise like speech."""
    rng = np.random.default_rng(4)
    speech = np.convolve(rng.standard_normal(32_000), np.ones(8) / 8, mode="same")
    shape: NDArray[np.float32] = np.asarray(
        0.1 * speech * (np.sin(np.arange(32_000) / 2000) > -0.5), np.float32
    )
    channels = np.stack(make(shape), axis=1).astype(np.float32)
    pcm = heard(sound_file("wav", channels, 16_000)).pcm / level(shape)
    return pcm.astype(np.float32)


SILENT = np.zeros(32_000, np.float32)
HUM = (0.05 * np.sin(2 * np.pi * 50 * np.arange(32_000) / 16_000)).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "at_least"),
    [
        (lambda s: [s, -s], 0.95),
        (lambda s: [s, -0.8 * s], 0.85),
        (lambda s: [s + HUM, -s + HUM], 0.95),
        (lambda s: [s + 0.2, -s + 0.2], 0.95),
        (lambda s: [s, -s, s, -s, s, -s], 0.95),
        (lambda s: [s, SILENT], 0.95),
        (lambda s: [SILENT, SILENT, SILENT, s, SILENT, SILENT], 0.95),
        (lambda s: [SILENT] * 62 + [s, -s], 0.95),
        (lambda s: [s, s], 0.95),
        (lambda s: [s] * 6, 0.95),
    ],
)
def test_family_4_speech_is_as_loud_as_in_the_channel_that_holds_it(
    make: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]], at_least: float
) -> None:
    pcm = mixed(make)
    if np.abs(pcm.mean()) > 0.1:
        pcm = pcm - pcm.mean()
    assert at_least <= level(pcm) < 1.6


def test_family_4_two_people_in_channels_of_their_own_are_both_heard() -> None:
    first, second = tone(2.0, 16_000, hz=300)[:, 0], tone(2.0, 16_000, hz=700)[:, 0]
    second[:16_000], first[16_000:] = 0, 0
    pcm = heard(sound_file("wav", np.stack([first, second], axis=1), 16_000)).pcm
    assert level(pcm[:15_000]) > 0.5 * LEVEL
    assert level(pcm[17_000:]) > 0.5 * LEVEL


def test_family_4_phase_that_turns_within_a_long_recording_leaves_no_hole() -> None:
    sound = tone(35.0, 8000, 2)
    sound[8000 * 17 + 1600 :, 1] *= -1
    pcm = heard(sound_file("wav", sound, 8000)).pcm
    assert len(pcm) == 35 * 8000
    levels = [level(part) for part in np.split(pcm, 350)]
    assert sum(each < 0.5 * LEVEL for each in levels) <= 4


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"not sound at all, not at all", "not audio that can be read; send wav, flac"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b'{"error": "not found"}', "JSON"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "a playlist"),
        (b"PK\x03\x04" + bytes(100), "a zip archive"),
        (b"ID3\x04\0\0\0\0\0\x05" + bytes(100), "not audio"),
        (a_tone_of("m4a")[:-2000], "cut off before its index"),
        (a_tone_of("wav")[:44], "no samples"),
        (a_tone_of("ogg")[5000:5100], "not audio"),
        (a_tone_of("wav")[:20] + b"\x77\x77" + a_tone_of("wav")[22:], "knows the codec"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + bytes(60), "damaged|channels"),
    ],
)
def test_what_nobody_can_read_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(AudioError, match=why):
        decode_sound(data, 10)
