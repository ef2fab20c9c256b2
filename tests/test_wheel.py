"""The package as it is installed: built, laid into an environment of its own, and used."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

from step_audio import __version__

ROOT = Path(__file__).parents[1]
QUESTION = ROOT / "tests" / "golden" / "audio" / "en_1.wav"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that has the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    if "STEP_AUDIO_WHEEL" in os.environ:  # `make test-package` built it from the source archive
        wheel = Path(os.environ["STEP_AUDIO_WHEEL"])
    else:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        build += ["--no-build-isolation", "--no-index", "-w", str(folder), str(ROOT)]
        subprocess.run(build, check=True, timeout=120)
        (wheel,) = folder.glob("*.whl")
    home = folder / "environment"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    # Dependencies come from the environment of the tests. Its own copy of the project does not:
    # .pth files of a folder that is added by one are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin"


def run(installed: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(installed / "python"), "-m", "step_audio", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )


def test_the_wheel_is_typed_and_its_modules_are_its_own(installed: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        [str(installed / "python"), "-c", "import server, step_audio; print(server.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    ).stdout
    assert Path(found.strip()).is_relative_to(installed.parent)
    (site,) = installed.parent.glob("lib/python*/site-packages")
    for name in ("step_audio", "server", "tokenizer", "vocoder"):
        assert (site / name / "py.typed").is_file()


def test_the_wheel_says_the_version_of_the_code(installed: Path, tmp_path: Path) -> None:
    (facts,) = installed.parent.glob("lib/python*/site-packages/step_audio-*.dist-info/METADATA")
    assert f"\nVersion: {__version__}\n" in facts.read_text(encoding="utf-8")
    assert run(installed, "--version", cwd=tmp_path).stdout == f"step-audio {__version__}\n"


def test_the_wheel_answers_a_spoken_question_as_the_clone_does(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is drawn for the sound is kept by the seed: both must make the same samples.
    monkeypatch.setenv("STEP_AUDIO__SAMPLING__SEED", "0")
    monkeypatch.setenv("STEP_AUDIO__VOICE_FOLDER", str(tmp_path / "voices"))
    done = run(installed, "ask", str(QUESTION), "-o", "answer.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    own = subprocess.run(
        [sys.executable, "-m", "step_audio", "ask", str(QUESTION), "-o", str(tmp_path / "own.wav")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.replace("answer.wav", "") == own.stdout.replace(f"{tmp_path}/own.wav", "")
    answer = (tmp_path / "answer.wav").read_bytes()
    assert len(answer) > 10_000
    assert answer == (tmp_path / "own.wav").read_bytes()
    done = run(installed, "doctor", "--profile", "nano", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_serves_its_page(installed: Path, tmp_path: Path) -> None:
    log = (tmp_path / "log").open("w+")
    server = subprocess.Popen(
        [
            str(installed / "python"),
            "-m",
            "step_audio",
            "serve",
            "--profile",
            "scripted",
            "--port=0",
        ],
        cwd=tmp_path,
        stderr=log,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        | {"STEP_AUDIO__SERVER__LOG": "text"},
    )
    try:
        address = ""
        for _ in range(600):
            told = (tmp_path / "log").read_text()
            if "listening" in told:
                address = told.split("url=")[1].split()[0]
                break
            assert server.poll() is None, told
            time.sleep(0.1)
        page = httpx.get(address)
        assert page.status_code == 200
        assert "<title>" in page.text
        assert httpx.get(f"{address}/main.js").status_code == 200
        assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
    finally:
        server.terminate()
        server.wait(30)
        log.close()
