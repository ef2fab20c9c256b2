"""The curl lines of the README, sent as they are written there."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from step_audio.core.encoding import open_encoder
from tests.fakes import VOCAB, group, text_ids
from tests.server.conftest import Connect
from tests.server.test_transcriptions import TONE

README = Path(__file__).parents[2] / "README.md"
CURLS = re.findall(r"^    (curl 127\.0\.0\.1:8000/v1.*)$", README.read_text(), re.MULTILINE)
SCRIPT = [6, *text_ids("what i said"), 7, *text_ids("Hi."), *VOCAB.ids([group(1)])]


def sent(line: str) -> tuple[str, dict[str, Any]]:
    """Return (path, arguments of the test client) of a curl line."""
    words = shlex.split(line)
    path = words[1].removeprefix("127.0.0.1:8000")
    if "-d" in words:
        return path, {"json": json.loads(words[words.index("-d") + 1])}
    encoder = open_encoder("mp3", 24_000)
    data = b"".join([*encoder.push(TONE), *encoder.flush()])
    return path, {"files": {words[words.index("-F") + 1].partition("=")[0]: ("said.mp3", data)}}


def test_there_are_examples() -> None:
    assert len(CURLS) == 3


@pytest.mark.parametrize("line", CURLS)
def test_an_example_of_the_readme_works(connect: Connect, line: str) -> None:
    path, arguments = sent(line)
    got = connect([SCRIPT]).post(path, **arguments)
    assert got.status_code == 200
    assert got.content
