import importlib.util
import shutil

import pytest


@pytest.fixture(scope="session")
def speech_tools() -> None:
    """Skip where the training-only dependencies are missing."""
    missing = [p for p in ("flite", "espeak-ng", "festival") if shutil.which(p) is None]
    if importlib.util.find_spec("pocketsphinx") is None:
        missing.append("pocketsphinx")
    if missing:
        pytest.skip(
            f"training only: {', '.join(missing)} missing; apt install flite espeak-ng festival "
            "festvox-kdlpc16k, pip install 'step-audio[train]'"
        )
