import importlib.util

import pytest

from step_audio.data.synthesis import missing_packages
from step_audio.data.voice_files import installed


@pytest.fixture(scope="session")
def speech_tools() -> None:
    """Skip where machine voices or the recogniser are missing."""
    packages = missing_packages()
    if packages:
        pytest.skip(f"machine voices: apt install {' '.join(packages)}")
    if not installed():
        pytest.skip("natural voices and Whisper: make nano-voices")
    if importlib.util.find_spec("faster_whisper") is None:
        pytest.skip("recogniser: pip install 'step-audio[train]'")
