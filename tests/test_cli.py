"""The command line: wrong input is one line and exit code 2, and leaves no file behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from step_audio.cli import main
from step_audio.core.audio import read_audio, wav_bytes, write_wav
from step_audio.core.config import load_profile
from step_audio.core.errors import EngineError
from step_audio.core.keys import Keyring
from step_audio.core.ports import AudioTokenizer, Services, Vocoder, VoiceLibrary, VoiceStore
from step_audio.core.profile import Profile
from step_audio.core.types import Pcm
from step_audio.dialog.settings import DialogSettings
from step_audio.voices.making import VoiceMaker
from tests.fakes import VOCAB, FixedClock, ScriptedEngine, group, services, text_ids
from tests.tokenizer.golden import write_published
from tokenizer.loading import load_tokenizer

ROOT = Path(__file__).parents[1]
T = np.arange(16000) / 16000
TONE: Pcm = (0.3 * np.sin(2 * np.pi * 300 * T)).astype(np.float32)
SPOKEN = [token for n in range(3) for token in VOCAB.group_ids(group(n))]
ANSWER = [6, *text_ids("what is it"), 7, *text_ids("Noon."), *SPOKEN]


class TickingClock(FixedClock):
    """Moves on by 10 ms whenever it is read."""

    def now_s(self) -> float:
        self.now += 0.01
        return self.now


class FakeParts:
    """Parts of a profile around a scripted engine."""

    def __init__(
        self, profile: Profile, *scripts: list[int], error: Exception | None = None
    ) -> None:
        self._languages = profile.dialog.languages
        self._engine = ScriptedEngine(scripts or (ANSWER,), error=error)
        self._services = replace(services(self._engine), clock=TickingClock(), default_voice="slt")

    def audio_tokenizer(self) -> AudioTokenizer:
        assert self._services.audio_tokenizer is not None
        return self._services.audio_tokenizer

    def vocoder(self) -> Vocoder:
        return self._services.vocoder

    def voices(self) -> VoiceStore:
        return self._services.voices

    def voice_library(self) -> VoiceLibrary:
        raise AssertionError("no command of these tests adds voices")

    def speaker_encoder(self) -> None:
        return None

    def packaged_speaker_encoder(self) -> None:
        return None

    def voice_maker(self) -> VoiceMaker:
        raise AssertionError("no command of these tests makes voices")

    def services(self) -> Services:
        return self._services

    def settings(self) -> DialogSettings:
        return DialogSettings(languages=self._languages)


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    write_wav(path, TONE, 16000)
    return path


def nan_wav() -> bytes:
    header = bytearray(wav_bytes(TONE, 16000))
    header[20:22] = (3).to_bytes(2, "little")  # IEEE float
    header[32:34], header[34:36] = (4).to_bytes(2, "little"), (32).to_bytes(2, "little")
    return bytes(header[:44]) + np.full(8000, np.nan, "<f4").tobytes()


UNUSABLE: dict[str, bytes | None] = {
    "missing": None,
    "empty file": b"",
    "not audio": b"To be, or not to be, that is the question." * 100,
    "no samples": wav_bytes(TONE[:0], 16000),
    "silent": wav_bytes(np.zeros(16000, np.float32), 16000),
    "not finite": nan_wav(),
    "too long": wav_bytes(np.tile(TONE, 61), 16000),
    "half a header": wav_bytes(TONE, 16000)[:30],
}


@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize("command", ["ask", "tokenize"])
def test_unusable_sound_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, what: str
) -> None:
    path, out = tmp_path / "q.wav", tmp_path / "out"
    content = UNUSABLE[what]
    if content is not None:
        path.write_bytes(content)
    assert main([command, str(path), "-o", str(out)], FakeParts) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("step-audio: ")
    assert printed.err.count("\n") == 1
    assert set(tmp_path.iterdir()) <= {path}


def test_ask_writes_the_answer_and_says_what_was_heard(
    tmp_path: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answer.wav"
    assert main(["ask", str(question), "-o", str(out)], FakeParts) == 0
    assert capsys.readouterr().out == "heard: what is it\nanswer: Noon.\n"
    pcm, rate_hz = read_audio(out)
    assert (len(pcm), rate_hz) == (3 * 960, 8000)


def test_ask_as_json_reports_times_and_calls(
    tmp_path: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [8, *text_ids('get_time {"city":"Paris"}')]
    args = ["ask", str(question), "-o", str(tmp_path / "a.wav"), "--json", "--voice", "rms"]
    assert main(args, lambda profile: FakeParts(profile, call, ANSWER)) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["heard"] == "what is it"
    assert facts["text"] == "Noon."
    assert facts["calls"] == [{"name": "get_time", "arguments": '{"city":"Paris"}'}]
    assert facts["seconds"] == 0.36
    assert 0 < facts["first_audio_ms"] <= 1000 * facts["rtf"] * facts["seconds"] + 0.1


def test_say_writes_sound(tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    assert main(["say", "Hello.", "-o", str(out)], lambda p: FakeParts(p, SPOKEN)) == 0
    assert len(read_audio(out)[0]) == 3 * 960


def test_tokenize_then_vocode_gives_sound_of_the_same_length(
    tmp_path: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids, out = tmp_path / "ids.json", tmp_path / "out.wav"
    assert main(["tokenize", str(question), "-o", str(ids)], FakeParts) == 0
    assert len(json.loads(ids.read_text())["groups"]) == 9
    assert main(["vocode", str(ids), "-o", str(out), "--voice", "rms"], FakeParts) == 0
    assert len(read_audio(out)[0]) == 9 * 960
    assert main(["tokenize", str(question)], FakeParts) == 0
    assert capsys.readouterr().out == ids.read_text()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"groups": []}', '{"groups": [[1,2,3,4]]}', '{"groups": [[1,2,3,4,4096]]}'],
)
def test_vocode_refuses_what_is_no_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    ids, out = tmp_path / "ids.json", tmp_path / "out.wav"
    ids.write_text(content)
    assert main(["vocode", str(ids), "-o", str(out)], FakeParts) == 2
    assert capsys.readouterr().err.startswith(f"step-audio: {ids}")
    assert not out.exists()


def test_an_unknown_voice_lists_the_known(
    tmp_path: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["ask", str(question), "-o", str(tmp_path / "a.wav"), "--voice", "../slt"]
    assert main(args, FakeParts) == 2
    assert "available: rms, slt" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["none/a.wav", "."])
def test_an_impossible_output_is_refused_before_the_work(
    tmp_path: Path, question: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    def never(profile: Profile) -> FakeParts:
        raise AssertionError("nothing may be loaded")

    assert main(["ask", str(question), "-o", str(tmp_path / out)], never) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("scripts", "error"),
    [([ANSWER], EngineError("the engine\nbroke")), ([text_ids("No sound.")], None)],
)
def test_a_failing_engine_is_one_line_exit_code_1_and_no_file(
    tmp_path: Path,
    question: Path,
    capsys: pytest.CaptureFixture[str],
    scripts: list[list[int]],
    error: Exception | None,
) -> None:
    out = tmp_path / "a.wav"
    load: Callable[[Profile], FakeParts] = lambda p: FakeParts(p, *scripts, error=error)  # noqa: E731
    assert main(["ask", str(question), "-o", str(out)], load) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert set(tmp_path.iterdir()) == {question}


def test_an_interrupt_is_quiet(
    tmp_path: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(profile: Profile) -> FakeParts:
        raise KeyboardInterrupt

    assert main(["ask", str(question), "-o", str(tmp_path / "a.wav")], interrupted) == 130
    assert capsys.readouterr().err == ""


def test_check_prints_the_profile_and_says_what_weights_lack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_AUDIO__WEIGHTS", str(tmp_path / "none"))
    assert main(["check", "--profile", "tts-3b"], FakeParts) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["model_name"] == "step-audio-tts-3b"
    assert "Step-Audio-TTS-3B" in printed.err
    assert printed.err.count("\n") == 1


def test_check_refuses_what_serve_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEP_AUDIO__SERVER__TRACES", str(tmp_path / "nowhere"))
    assert main(["check"]) == 2
    assert "no folder" in capsys.readouterr().err
    monkeypatch.delenv("STEP_AUDIO__SERVER__TRACES")
    monkeypatch.setenv("STEP_AUDIO__SERVER__SPANS", "true")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert main(["check"]) == 2
    assert "telemetry" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["tts-3b", "chat-130b", "aqaa-130b"])
def test_missing_weights_name_the_command_that_fetches_them(
    profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--profile", profile]) == 2
    assert f"step-audio weights download {profile}" in capsys.readouterr().err


def test_load_says_that_no_server_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--url", "ws://127.0.0.1:9/v1/realtime"]) == 2
    assert "no server answers at 127.0.0.1:9" in capsys.readouterr().err


def test_record_then_check_verifies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_bytes(bytes(10))
    monkeypatch.setenv("STEP_AUDIO__WEIGHTS", str(tmp_path))
    assert main(["record", str(tmp_path)], FakeParts) == 0
    assert main(["check"], FakeParts) == 0
    assert "1 files, 0.0 MB, all as in the manifest" in capsys.readouterr().out
    (tmp_path / "model").write_bytes(bytes(9) + b"\x01")
    assert main(["check"], FakeParts) == 2
    assert "was altered" in capsys.readouterr().err


def test_convert_writes_a_folder_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_published(tmp_path / "hub")
    out = tmp_path / "deep" / "tokenizer"
    assert main(["convert", str(tmp_path / "hub"), str(out)], FakeParts) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 5 files, ")
    assert len(load_tokenizer(out).encode(TONE)) == 9


def test_convert_refuses_what_it_cannot_read_or_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_published(tmp_path / "hub")
    (tmp_path / "file").write_text("in the way")
    for published, out in (("none", "out"), ("hub", "file"), ("hub", "file/below")):
        assert main(["convert", str(tmp_path / published), str(tmp_path / out)], FakeParts) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_python_m_step_audio_is_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "step_audio", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("step-audio ")


def test_commands_that_need_no_model_do_not_load_torch() -> None:
    program = (
        "import sys; from step_audio.cli import main; main(['check', '--profile', 'tts-3b']);"
        "print('torch' in sys.modules, 'librosa' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "False False"


def test_the_commands_start_without_what_only_training_and_tests_install() -> None:
    def pinned(*names: str) -> set[str]:
        locks = (Path(__file__).parents[1] / "requirements" / f"{name}.lock" for name in names)
        text = "".join(path.read_text() for path in locks)
        return {line.split("==")[0].replace("-", "_") for line in text.splitlines() if "==" in line}

    only = sorted(pinned("train", "dev") - pinned("run", "torch"))
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {only}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from step_audio.cli import main; main(['check', '--profile', 'nano'])"
    )
    assert "soxr" in only
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=120)


def test_a_made_key_fits_the_profile_that_keeps_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "kitchen"]) == 0
    shown, kept = capsys.readouterr().out.splitlines()
    text = (ROOT / "step_audio/profiles/nano.yaml").read_text()
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"{text}\n{kept.partition(':')[2].strip()}\n")
    keys = load_profile(str(profile), {}).server.keys
    assert Keyring(keys).owner(shown.rpartition(" ")[2]) == "kitchen"


def test_plan_says_whether_a_deployment_keeps_up(capsys: pytest.CaptureFixture[str]) -> None:
    on = ["plan", "--profile", "aqaa-130b", "--gpu", "h100", "--count", "4", "--sessions", "2"]
    assert main([*on, "--quantization", "fp8"]) == 0
    shown = capsys.readouterr().out
    assert "step-audio-aqaa on 4 x h100, fp8: keeps up" in shown
    assert "bytes / (cards x bandwidth)" in shown
    assert main(on) == 1
    assert "does NOT keep up" in capsys.readouterr().out
    assert main([*on, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["step-audio-aqaa"]["keeps_up"] is False
    assert [part["name"] for part in found["sound"]][-1] == "vocoder"


def test_plan_asks_for_which_profile_and_names_those_on_cards(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--gpu", "h100"]) == 2
    told = capsys.readouterr().err
    assert "which profile" in told
    for name in ("aqaa-130b", "chat-130b", "tts-3b", "one-gpu"):
        assert f"--profile {name}" in told
    assert "--profile nano" not in told  # it runs on the CPU


def test_plan_adds_up_the_models_that_share_a_card(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["plan", "--profile", "one-gpu", "--gpu", "rtx4090", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    together = found["together"]
    assert [*together["engines"]] == ["Qwen/Qwen3-8B-AWQ, int4", "step-audio-tts-3b"]
    assert together["fits"]
    # While the chat model writes the voice has half of the card's bandwidth.
    assert found["step-audio-tts-3b"]["alone_ids_s"] == pytest.approx(76, abs=1)
    compose = yaml.safe_load((ROOT / "docker" / "compose.one-gpu.yaml").read_text())["services"]
    for name, option in (("engine", "--memory"), ("chat", "--gpu-memory-utilization")):
        command = compose[name]["command"]
        share = float(command[command.index(option) + 1])
        assert share == max(e["memory_share"] for e in together["engines"].values())
    l4 = ["plan", "--profile", "one-gpu", "--gpu", "l4"]
    assert main(l4) == 1  # too slow for two models in bf16
    assert "does NOT keep up" in capsys.readouterr().out
    assert main([*l4, "--quantization", "int4"]) == 0
    assert "in all: " in capsys.readouterr().out
    assert main(["plan", "--profile", "one-gpu", "--gpu", "rtx4080"]) == 1
    assert "does NOT fit" in capsys.readouterr().out
    assert main(["plan", "--profile", "one-gpu", "--gpu", "rtx4080", "--chat", "elsewhere"]) == 0
    assert "Qwen" not in capsys.readouterr().out
    assert main(["plan", "--profile", "one-gpu", "--chat", "mistral:7b"]) == 2
    assert "--chat elsewhere" in capsys.readouterr().err
    config = {
        "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 32768,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["plan", "--profile", "one-gpu", "--gpu", "h100", "--chat", str(tmp_path)]) == 0
    assert "14.5 weights" in capsys.readouterr().out  # of a Mistral 7B


def test_plan_takes_both_models_of_a_cascade_and_nanos_own_sizes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--profile", "chat-130b", "--count", "8"]) == 0
    shown = capsys.readouterr().out
    assert "step-audio-chat on 8 x h100" in shown
    assert "step-audio-tts-3b on 1 x h100" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("in all: ")]
    assert "step-audio-chat 35.7 of 80 GB on the fullest of 8 cards; step-audio-tts-3b 1" in line
    assert line.endswith("1.2 GB in the machine's memory")
    assert shown.count("on a card") == 2  # it speaks and sings
    rtx = ["plan", "--profile", "nano", "--gpu", "RTX 3090", "--quantization", "int8"]
    assert main(rtx) == 0
    shown = capsys.readouterr().out
    assert "step-audio-nano" in shown
    assert "4.2 M parameters" in shown
    assert main(["plan", "--profile", "nano", "--gpu", "abacus"]) == 2
