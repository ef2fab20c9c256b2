"""Sound files of commands: whatever the server takes, and what is said of damage (family 5)."""

from pathlib import Path

import pytest

from step_audio.cli import main
from step_audio.cli.sound_files import read
from step_audio.core.containers import sniffed
from tests.sound_files import KINDS, a_tone_of, id3_tag, overwritten
from tests.test_cli import FakeParts

ENDING = {"fragmented m4a": "m4a"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["ask", "tokenize"])
def test_family_5_commands_take_every_kind_that_the_server_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    question = tmp_path / f"question.{ENDING.get(kind, kind)}"
    question.write_bytes(a_tone_of(kind, 1.0))
    assert main([command, str(question), "-o", str(tmp_path / "out")], FakeParts) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", KINDS)
def test_family_5_the_name_of_a_file_does_not_matter(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "whatever.txt"
    path.write_bytes(a_tone_of(kind, 1.0))
    pcm, rate_hz = read(path)
    assert len(pcm) / rate_hz == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["out.ogg", "out.m4a", "out.webm", "out.mp3"])
def test_family_5_answers_are_written_as_their_names_say(tmp_path: Path, name: str) -> None:
    question, out = tmp_path / "question.m4a", tmp_path / name
    question.write_bytes(a_tone_of("m4a", 1.0))
    assert main(["ask", str(question), "-o", str(out)], FakeParts) == 0
    kind = {"out.ogg": "ogg", "out.m4a": "mp4", "out.webm": "matroska", "out.mp3": "mp3"}[name]
    assert sniffed(out.read_bytes()[:16]) == kind
    assert len(read(out)[0]) > 1000


def test_family_5_a_name_that_says_no_format_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = tmp_path / "question.wav"
    question.write_bytes(a_tone_of("wav", 1.0))
    assert main(["ask", str(question), "-o", str(tmp_path / "out.midi")], FakeParts) == 2
    assert "'midi' is not supported; choose among wav, pcm, mp3, opus" in capsys.readouterr().err


def test_what_was_skipped_is_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = tmp_path / "question.mp3"
    question.write_bytes(b"junk!" + overwritten(a_tone_of("mp3", 2.0)))
    assert main(["ask", str(question), "-o", str(tmp_path / "out.wav")], FakeParts) == 0
    err = capsys.readouterr().err
    assert err.startswith(f"step-audio: {question}: 5 bytes in front of the sound were skipped; ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html></html>", "an HTML page"),
        (a_tone_of("m4a")[:-3000], "cut off before its index"),
        (id3_tag() + b"nothing", "not audio"),
    ],
)
def test_what_nobody_can_read_is_one_line_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, why: str
) -> None:
    question = tmp_path / "question.m4a"
    question.write_bytes(content)
    assert main(["ask", str(question), "-o", str(tmp_path / "out.wav")], FakeParts) == 2
    err = capsys.readouterr().err
    assert (str(question) in err, why in err, err.count("\n")) == (True, True, 1)
