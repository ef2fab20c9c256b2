import importlib.util

import pytest

from step_audio.data.synthesis import missing_packages


@pytest.fixture(scope="session")
def speech_tools() -> None:
    """Skip where machine voices or the recogniser are missing."""
    packages = missing_packages()
    if packages:
        pytest.skip(f"machine voices: apt install {' '.join(packages)}")
    if importlib.util.find_spec("pocketsphinx") is None:
        pytest.skip("recogniser: pip install 'step-audio[train]'")
