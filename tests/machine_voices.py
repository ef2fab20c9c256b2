"""The mark of tests that need Debian's machine voices; what is missing is said at the run's end."""

from __future__ import annotations

import pytest

from step_audio.data.synthesis import missing_packages

_MISSING = missing_packages()

needs_machine_voices = pytest.mark.skipif(
    bool(_MISSING), reason=f"machine voices: apt install {' '.join(_MISSING)}"
)
