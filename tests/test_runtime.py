"""A profile becomes parts that work together: the real classes, at tiny widths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from step_audio.cli import main
from step_audio.core.audio import read_audio, write_wav
from step_audio.core.config import load_profile
from step_audio.core.errors import ProfileError, VoiceNotFound, WeightsError
from step_audio.core.profile import TurnsSection
from step_audio.runtime import Runtime
from tests.tiny import VOCAB, VOICES, write_tiny
from tests.vocoder.speech import speechlike
from tokenizer.silero import SileroTurnDetector
from tokenizer.vad import EnergyTurnDetector


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "weights"
    write_tiny(folder)
    return folder


@pytest.fixture
def environ(weights: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Overrides that make nano use the tiny weights, also set for commands."""
    # Random weights draw ids at random, and few five in a row are a group: draw many.
    values = {
        "STEP_AUDIO__WEIGHTS": str(weights),
        "STEP_AUDIO__SAMPLING__MAX_TOKENS": "300",
        "STEP_AUDIO__SAMPLING__TEMPERATURE": "1.0",
    }
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    return values


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    t = np.arange(24000) / 24000
    write_wav(path, (0.3 * np.sin(2 * np.pi * 220 * t)).astype(np.float32), 24000)
    return path


def test_services_hold_every_part(environ: dict[str, str]) -> None:
    services = Runtime(load_profile("nano", environ)).services()
    assert services.vocab == VOCAB
    assert services.voices.names() == VOICES
    assert services.default_voice == "rms"
    assert "get_time" in {spec.name for spec in services.tools.specs()}
    assert services.text_tokenizer.encode("noon")
    assert isinstance(services.turn_detector, SileroTurnDetector)


def test_models_leave_the_other_cores_to_others(environ: dict[str, str]) -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        Runtime(load_profile("nano", environ)).audio_tokenizer()
        assert {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"} == {1}


def test_the_profile_names_the_turn_detector(environ: dict[str, str]) -> None:
    profile = load_profile("nano", environ | {"STEP_AUDIO__TURN_DETECTOR__KIND": "energy"})
    assert isinstance(Runtime(profile).turn_detector(), EnergyTurnDetector)
    with pytest.raises(ProfileError, match="silero"):
        load_profile("nano", environ | {"STEP_AUDIO__TURN_DETECTOR__KIND": "magic"})


def test_the_prompt_leaves_room_for_the_answer(environ: dict[str, str]) -> None:
    settings = Runtime(load_profile("nano", environ)).settings()
    assert settings.max_prompt_ids == 512 - 300
    assert settings.sampling.max_tokens == 300


def test_speech_goes_through_both_ends(
    environ: dict[str, str], question: Path, tmp_path: Path
) -> None:
    ids, out = tmp_path / "ids.json", tmp_path / "out.wav"
    assert main(["tokenize", str(question), "-o", str(ids)]) == 0
    groups = json.loads(ids.read_text())["groups"]
    assert main(["vocode", str(ids), "-o", str(out)]) == 0
    pcm, rate_hz = read_audio(out)
    assert rate_hz == 22050
    assert len(pcm) == len(groups) * 0.12 * rate_hz


def test_the_same_text_and_seed_give_the_same_sound(
    environ: dict[str, str], tmp_path: Path
) -> None:
    for name in ("one.wav", "two.wav"):
        assert main(["say", "It is noon.", "-o", str(tmp_path / name), "--seed", "5"]) == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


def test_a_voice_that_is_not_there_is_refused_at_the_start(environ: dict[str, str]) -> None:
    profile = load_profile("nano", environ | {"STEP_AUDIO__VOICE": "nobody"})
    with pytest.raises(VoiceNotFound, match="available: rms, slt"):
        Runtime(profile).services()


def test_altered_weights_are_refused_at_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "altered"
    write_tiny(folder)
    model = folder / "lm" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    profile = load_profile("nano", environ | {"STEP_AUDIO__WEIGHTS": str(folder)})
    with pytest.raises(WeightsError, match=r"model\.safetensors was altered"):
        Runtime(profile).vocoder()


def test_a_cascade_needs_somebody_who_reads(environ: dict[str, str]) -> None:
    profile = load_profile("nano", environ | {"STEP_AUDIO__RESPONDER": "cascade"})
    with pytest.raises(ProfileError, match="speech_engine"):
        Runtime(profile).services()


def test_a_start_loads_neither_the_compiler_nor_training(environ: dict[str, str]) -> None:
    # Each costs seconds: torch._dynamo comes in with some initialisations on the meta device.
    program = (
        "import sys\n"
        "from step_audio.core.config import load_profile\n"
        "from step_audio.runtime import Runtime\n"
        "import server.app\n"
        "Runtime(load_profile('nano')).services()\n"
        "heavy = {'torch._dynamo', 'torchaudio', 'scipy', 'step_audio.train'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.stdout == "[]\n", result.stderr


def test_a_voice_is_added_used_and_removed(
    environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech, out = tmp_path / "speech.wav", tmp_path / "out.wav"
    write_wav(speech, speechlike(4.0, 44_100), 44_100)
    consent = ["--consent", "nobody: made by a test"]
    added = ["voices", "add", "Anna", str(speech), "--text", "one two three", *consent]
    assert main(added) == 0
    printed = capsys.readouterr().out
    assert "Anna: 3.96 s, 'one two three'" in printed
    assert "speaker vector" in printed
    assert main(added) == 2
    assert "there is a voice 'Anna' already" in capsys.readouterr().err
    assert main(["voices", "list"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        *VOICES,
        "Anna",
    ]
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({"groups": [[1, 2, 3, 4, 5]] * 5}))
    assert main(["vocode", str(groups), "-o", str(out), "--voice", "Anna"]) == 0
    assert main(["voices", "show", "Anna"]) == 0
    assert json.loads(capsys.readouterr().out)["consent"] == "nobody: made by a test"
    assert main(["voices", "remove", "Anna"]) == 0
    assert main(["voices", "remove", "Anna"]) == 2
    assert main(["voices", "remove", "rms"]) == 2


def test_a_voice_whose_words_were_heard_says_how_to_give_them(
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def misheard(*_: object) -> str:
        return "do you know voice"

    monkeypatch.setattr("step_audio.cli.voices._transcribed", misheard)
    write_wav(tmp_path / "speech.wav", speechlike(4.0, 44_100), 44_100)
    added = ["voices", "add", "Heard", str(tmp_path / "speech.wav"), "--consent", "a test"]
    assert main([*added, "--no-comparison"]) == 0
    told = capsys.readouterr().out
    assert "'do you know voice'" in told
    assert "add it with --text" in told
    assert main(["voices", "remove", "Heard"]) == 0


def test_services_share_the_library_with_the_store(environ: dict[str, str]) -> None:
    services = Runtime(load_profile("nano", environ)).services()
    assert id(services.voice_library) == id(services.voices)


def test_listing_voices_loads_no_torch(environ: dict[str, str]) -> None:
    check = "import sys; from step_audio.cli import main; main(['voices', 'list'])"
    listed = subprocess.run(
        [sys.executable, "-c", f"{check}; assert 'torch' not in sys.modules"], check=False
    )
    assert listed.returncode == 0


def test_every_key_of_turns_reaches_the_dialogue() -> None:
    keys = {"SPECULATE": "false", "RESUME_MS": "321", "BACKCHANNEL_MS": "654"}
    assert {key.lower() for key in keys} == set(TurnsSection.model_fields)
    environ = {f"STEP_AUDIO__TURNS__{key}": value for key, value in keys.items()}
    turns = Runtime(load_profile("nano", environ)).settings().turns
    assert (turns.speculate, turns.resume_ms, turns.backchannel_ms) == (False, 321, 654)
