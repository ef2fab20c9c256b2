"""Which tools a profile offers: nano's world reaches nano alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from step_audio.core.config import load_profile
from step_audio.core.errors import ProfileError
from step_audio.runtime import Runtime
from step_audio.runtime.toolbox import open_tools
from tests.tiny import write_tiny

PROFILES = sorted(
    path.stem for path in (Path(__file__).parents[1] / "step_audio/profiles").glob("*.yaml")
)
GENERAL = ["get_current_time", "calculate", "convert_units", "set_timer"]
NANO = ["calculate", "get_time", "get_date", "get_weather", "set_timer", "convert_units"]

# A process of its own: what tests import would hide what a profile does.
_PROBE = """
import json, os, sys
from types import SimpleNamespace
import server.app
import step_audio.whisper
from step_audio.cli import main
from step_audio.core.config import load_profile
from step_audio.runtime import Runtime
name = sys.argv[1]
assert main(["check", "--profile", name]) == 0
# No recognizer: it is an extra, and has no tools.
step_audio.whisper._load = lambda *_: SimpleNamespace(supported_languages=["en", "zh", "ja", "ko"])
runtime = Runtime(load_profile(name, os.environ))
runtime.settings()
services = runtime.services()
told = [[spec.name, spec.description, spec.parameters] for spec in services.tools.specs()]
nano = sorted(module for module in sys.modules if module.startswith("step_audio.nano"))
print(json.dumps({"tools": told, "nano": nano}))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "weights"
    write_tiny(folder)
    return folder


@pytest.mark.parametrize("name", PROFILES)
def test_no_profile_but_nano_imports_or_lists_anything_of_nano(name: str, weights: Path) -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "STEP_AUDIO__WEIGHTS": str(weights),
        "STEP_AUDIO__VOCODER__DEVICE": "cpu",
        "STEP_AUDIO__SAMPLING__MAX_TOKENS": "100",
    }
    if name != "scripted":
        environ["STEP_AUDIO__VOICE"] = "rms"
    command = [sys.executable, "-c", _PROBE, name]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = [tool[0] for tool in found["tools"]]
    if name == "nano":
        assert names == NANO
        assert found["nano"]
        return
    assert names == GENERAL
    assert found["nano"] == []
    assert "Amsterdam" not in json.dumps(found["tools"])  # the first of nano's cities


@pytest.mark.parametrize("kind", ["nano", "local"])
def test_profiles_made_before_keep_nanos_tools(kind: str) -> None:
    profile = load_profile("nano", {"STEP_AUDIO__TOOLS__KIND": kind})
    assert [spec.name for spec in open_tools(profile.tools).specs()] == NANO


def test_here_is_where_the_profile_says() -> None:
    environ = {"STEP_AUDIO__TOOLS__TIMEZONE": "Atlantis"}
    with pytest.raises(ProfileError, match=r"tools\.timezone: unknown time zone 'Atlantis'"):
        Runtime(load_profile("scripted", environ)).services()
