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

ROOT = Path(__file__).parents[1]
QUESTION = ROOT / "tests" / "golden" / "audio" / "en_1.wav"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that has the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--no-index", "-w", str(folder), str(ROOT)], check=True, timeout=120)
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
        timeout=120,
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


def test_the_wheel_answers_a_spoken_question(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "ask", str(QUESTION), "-o", "answer.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answer.wav").stat().st_size > 10_000
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
