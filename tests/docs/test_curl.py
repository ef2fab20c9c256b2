"""The curl lines of the documents, sent as they are written there."""

import json
import re
import shlex
from typing import Any

import pytest

from step_audio.core.encoding import open_encoder
from tests.docs.commands import PAGES
from tests.fakes import VOCAB, group, text_ids
from tests.server.conftest import Connect, connect
from tests.server.test_transcriptions import TONE

LINE = re.compile(r"^    (curl .*)$", re.MULTILINE)
CURLS = sorted({line for page in PAGES for line in LINE.findall(page.read_text())})
__all__ = ["connect"]

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


def test_there_are_examples_of_speaking_listening_and_answering() -> None:
    assert {shlex.split(line)[1].split("/v1/")[1] for line in CURLS} == {
        "audio/speech",
        "audio/transcriptions",
        "chat/completions",
    }


@pytest.mark.parametrize("line", CURLS)
def test_an_example_of_the_documents_works(connect: Connect, line: str) -> None:
    path, arguments = sent(line)
    got = connect([SCRIPT]).post(path, **arguments)
    assert got.status_code == 200
    assert got.content
