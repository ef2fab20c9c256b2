"""A folder of texts that were said."""

from __future__ import annotations

from pathlib import Path

import pytest

from step_audio.data.speak import speak
from step_audio.data.write import write
from tests.data.sounds import ASKED, PLAIN, ToneReader


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    write(tmp_path, [ASKED, PLAIN])
    speak(tmp_path, ToneReader())
    return tmp_path
