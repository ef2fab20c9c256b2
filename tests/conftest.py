"""Settings of the whole suite."""

from pathlib import Path

import pytest
from hypothesis import settings

# Shared cores make any deadline a lottery; speed is measured in tests/bench.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def voice_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test's profiles keep voices: never among those of whoever runs the tests."""
    folder = tmp_path / "voice-folder"
    monkeypatch.setenv("STEP_AUDIO__VOICE_FOLDER", str(folder))
    return folder
