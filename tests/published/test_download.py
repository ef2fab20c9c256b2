"""Downloads from a hub on loopback: resumed, hashed, pinned, refused without room."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from step_audio.cli import main
from step_audio.core.errors import InputError
from step_audio.core.weights import open_weights
from step_audio.published.download import SOURCES, download, plan_download
from step_audio.published.hub import DownloadFailed, Hub
from tests.published.hub import COMMIT, FakeHub, serving

BIG = random.Random(0).randbytes(3_000_000)
TTS = {
    "config.json": b"{}",
    "model-00001.safetensors": BIG,
    "tokenizer.model": b"t" * 200,
    "README.md": b"read",
    "assets/logo.png": b"png",
    "CosyVoice-300M-25Hz/flow.pt": b"f" * 300,
    "CosyVoice-300M-25Hz/hift.pt": b"h" * 300,
    "CosyVoice-300M-25Hz/cosyvoice.yaml": b"y",
    "CosyVoice-300M-25Hz-Music/flow.pt": b"m" * 300,
}
EAR = {"linguistic_tokenizer.npy": b"n" * 150, "deep/er/model.pt": b"p" * 150}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    # The library writes blocks of 10 MB, and waits a second before it asks again.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    repositories = {"stepfun-ai/Step-Audio-TTS-3B": TTS, "stepfun-ai/Step-Audio-Tokenizer": EAR}
    with serving(FakeHub(dict(repositories))) as served:
        yield served


def run(served: FakeHub, folder: Path) -> list[int]:
    told: list[int] = []
    hub = Hub(served.address)
    wanted = plan_download(hub, SOURCES["tts-3b"], folder, {})
    download(hub, wanted, folder, told.append)
    return told


def wanted_contents() -> list[bytes]:
    return [content for path, content in (TTS | EAR).items() if not path.endswith(".png")]


def test_a_profile_is_fetched_into_the_layout_that_serving_expects(
    hub: FakeHub, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    told = run(hub, folder)
    weights = open_weights(folder, "")
    weights.verify()
    assert set(weights.files) == {
        "sources.json",
        "lm/config.json",
        "lm/model-00001.safetensors",
        "lm/tokenizer.model",
        "lm/README.md",
        "vocoder/flow.pt",
        "vocoder/hift.pt",
        "vocoder/cosyvoice.yaml",
        "vocoder_music/flow.pt",
        "tokenizer/linguistic_tokenizer.npy",
        "tokenizer/deep/er/model.pt",
    }
    assert (folder / "vocoder/flow.pt").read_bytes() == TTS["CosyVoice-300M-25Hz/flow.pt"]
    assert sum(told) == sum(f.bytes for n, f in weights.files.items() if n != "sources.json")
    assert json.loads((folder / "sources.json").read_text()) == dict.fromkeys(
        hub.repositories, COMMIT
    )


def test_a_cut_download_goes_on_where_it_stopped(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut = [("model-00001.safetensors", 1_000_000), ("model-00001.safetensors", 500_000)]
    told = run(hub, tmp_path)
    assert sum(told) == sum(map(len, wanted_contents()))
    asked = [at for name, at in hub.asked if name == "model-00001.safetensors"]
    assert asked[0] is None
    assert all(a is not None and int(a[6:-1]) > 0 for a in asked[1:])
    assert (tmp_path / "lm/model-00001.safetensors").read_bytes() == BIG
    assert max(told) < len(BIG)


def test_a_later_run_fetches_only_what_is_missing(hub: FakeHub, tmp_path: Path) -> None:
    name = "model-00001.safetensors"
    hub.cut = [(name, 1_000_000), *[(name, 0)] * 20]
    with pytest.raises(DownloadFailed, match="run the command again"):
        run(hub, tmp_path)
    kept = (tmp_path / f"lm/{name}.part").stat().st_size
    assert 900_000 < kept <= 1_000_000
    hub.cut.clear()
    hub.asked.clear()
    told = run(hub, tmp_path)
    assert hub.asked == [(name, f"bytes={kept}-")]
    assert sum(told) == len(BIG) - kept
    hub.asked.clear()
    run(hub, tmp_path)
    assert hub.asked == []


def test_a_hub_that_cannot_resume_is_asked_from_the_beginning(hub: FakeHub, tmp_path: Path) -> None:
    hub.resumes = False
    hub.cut = [("model-00001.safetensors", 1_000_000)]
    told = run(hub, tmp_path)
    assert (tmp_path / "lm/model-00001.safetensors").read_bytes() == BIG
    assert sum(told) == sum(map(len, wanted_contents()))
    assert min(told) < 0


def test_a_connection_that_breaks_is_opened_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.reset = [("model-00001.safetensors", 1_000_000)]
    run(hub, tmp_path)
    assert (tmp_path / "lm/model-00001.safetensors").read_bytes() == BIG


def test_more_than_was_announced_is_not_written(hub: FakeHub, tmp_path: Path) -> None:
    hub.endless = {"config.json"}
    with pytest.raises(DownloadFailed, match="more came than was announced"):
        run(hub, tmp_path)
    assert (tmp_path / "lm/config.json.part").stat().st_size <= len(TTS["config.json"])


def test_a_mirror_and_a_login_come_from_the_environment(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)  # read at import
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    plan_download(Hub(), SOURCES["tts-3b"], tmp_path, {})
    assert hub.logins == {"Bearer hf_of_the_user"}


@pytest.mark.parametrize(
    "answer",
    [b"[]", b"no json", b'{"id": 1, "sha": 5}', b'{"siblings": [{"lfs": 3}]}', b"[" * 9999],
)
def test_what_is_no_answer_of_a_hub_is_said(hub: FakeHub, tmp_path: Path, answer: bytes) -> None:
    hub.answer = answer
    with pytest.raises(DownloadFailed, match="not the answer of a model hub"):
        run(hub, tmp_path)


@pytest.mark.parametrize("path", ["model-00001.safetensors", "config.json"])
def test_content_that_is_not_what_was_announced_is_not_kept(
    hub: FakeHub, tmp_path: Path, path: str
) -> None:
    hub.lie = {path}
    with pytest.raises(DownloadFailed, match=f"{path}: its hash differs"):
        run(hub, tmp_path)
    assert not (tmp_path / "lm" / path).exists()
    assert not list(tmp_path.rglob("*.part"))


def test_no_room_is_said_before_anything_comes(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000))
    with pytest.raises(InputError, match=r"still to come and .* has room for 0\.0 GB"):
        run(hub, tmp_path)
    assert hub.asked == []


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a\\b", "x/../../y"])
def test_a_hub_cannot_write_outside_of_the_folder(hub: FakeHub, tmp_path: Path, path: str) -> None:
    hub.repositories["stepfun-ai/Step-Audio-Tokenizer"] = {path: b"x"}
    with pytest.raises(DownloadFailed, match="cannot be a file of a repository"):
        run(hub, tmp_path / "in")


def test_the_command_shows_commits_and_progress_and_names_the_next_step(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    line = ["weights", "download", "tts-3b", "-o", str(folder), "--hub", hub.address]
    assert main([*line, "--no-voices"]) == 0
    shown = capsys.readouterr()
    assert f"stepfun-ai/Step-Audio-TTS-3B at {COMMIT}" in shown.out
    assert "step-audio check --profile tts-3b" in shown.out
    assert "100%" in shown.err


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        (["aqaa-130b"], (1, "the hub answers 401")),
        (["nano"], (2, "nothing to download for 'nano'")),
        (["tts-3b", "--revision", "x"], (2, "expected REPOSITORY=COMMIT")),
    ],
)
def test_what_cannot_be_downloaded_is_one_line(
    hub: FakeHub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    wrong: tuple[int, str],
) -> None:
    code, message = wrong
    line = ["weights", "download", *more, "-o", str(tmp_path), "--hub", hub.address]
    assert main(line) == code
    assert message in capsys.readouterr().err


def test_a_hub_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="cannot reach"):
        Hub("http://127.0.0.1:1").files("a/b", "main")
    with pytest.raises(InputError, match="no address of a hub"):
        Hub("ftp://x")
