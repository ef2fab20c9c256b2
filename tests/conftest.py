"""Settings of the whole suite."""

from collections import Counter
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line a reason what was left out, and how many tests that is."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        reasons[reason.removeprefix("Skipped: ")] += 1
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"left out: {count} tests, {reason}")
