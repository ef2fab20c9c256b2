"""`say`: texts, books and folders of lines."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from step_audio.cli import main
from step_audio.cli.reading import Progress
from step_audio.core.audio import read_audio
from step_audio.core.decoding import decode_audio
from step_audio.core.errors import EngineError
from step_audio.core.profile import Profile
from step_audio.dialog.settings import DialogSettings
from step_audio.dialog.speakable.reading_domain import read_domain
from tests.fakes import ScriptedEngine
from tests.test_cli import SPOKEN, FakeParts

BOOK = " ".join(  # three passages
    f"Sentence {chr(97 + n % 26)} is one of very many in a long book about nothing in all."
    for n in range(30)
)
PASSAGE_S = (11 * 0.36, 11 * 0.36, 8 * 0.36)


class Loaded:
    """Remembers the engines of one run after the other."""

    def __init__(self) -> None:
        self.engines: list[ScriptedEngine] = []

    def __call__(self, profile: Profile) -> FakeParts:
        parts = FakeParts(profile, SPOKEN)
        engine = parts.services().engine
        assert isinstance(engine, ScriptedEngine)
        self.engines.append(engine)
        return parts


def say(arguments: Sequence[str | Path], load: Loaded) -> int:
    return main(["say", *map(str, arguments)], load)


NAMES = (
    "a.wav",
    "a.mp3",
    "a.flac",
    "a.opus",
    "a.aac",
    "A.WAV",
    "a.ogg",
    "a.m4a",
    "a.webm",
    "a.mp4",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_the_file_says_its_format(tmp_path: Path, name: str) -> None:
    assert say(["Hello.", "-o", tmp_path / name], Loaded()) == 0
    pcm, rate_hz = decode_audio(io.BytesIO((tmp_path / name).read_bytes()), 10)
    assert abs(len(pcm) / rate_hz - 0.36) < 0.1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_speed_is_followed(tmp_path: Path) -> None:
    assert say(["Hello.", "-o", tmp_path / "a.wav", "--speed", "2"], Loaded()) == 0
    pcm, rate_hz = read_audio(tmp_path / "a.wav")
    assert abs(len(pcm) / rate_hz - 0.18) < 0.01


def test_a_book_becomes_one_file_with_a_breath_between_passages(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(BOOK)
    assert say(["--file", tmp_path / "book.txt", "-o", tmp_path / "out.flac"], Loaded()) == 0
    pcm, rate_hz = read_audio(tmp_path / "out.flac")
    assert abs(len(pcm) / rate_hz - (sum(PASSAGE_S) + 2 * 0.3)) < 0.1
    assert {path.name for path in tmp_path.iterdir()} == {"book.txt", "out.flac"}


def test_a_book_that_cannot_be_read_to_its_end_is_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.txt").write_text(f"{BOOK} Конец.")
    load = Loaded()
    assert say(["--file", tmp_path / "book.txt", "-o", tmp_path / "out.flac"], load) == 2
    assert "'Конец.'" in capsys.readouterr().err
    assert load.engines[0].requests == []


def test_a_book_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(BOOK)
    arguments: list[str | Path] = ["--file", tmp_path / "book.txt", "-o", tmp_path / "out.wav"]
    stopped = Loaded()

    def load(profile: Profile) -> FakeParts:
        parts = stopped(profile)
        engine = stopped.engines[0]
        generate = engine.generate

        def failing(request):  # type: ignore[no-untyped-def]
            if len(engine.requests) >= 15:
                raise EngineError("the power went off")
            return generate(request)

        engine.generate = failing  # type: ignore[method-assign]
        return parts

    assert main(["say", *map(str, arguments)], load) == 1
    assert not (tmp_path / "out.wav").exists()
    assert len(list((tmp_path / ".out.wav.parts").iterdir())) == 1
    again = Loaded()
    assert say(arguments, again) == 0
    # Eleven of the thirty sentences had been read.
    assert len(again.engines[0].requests) == 19
    assert {path.name for path in tmp_path.iterdir()} == {"book.txt", "out.wav"}


def test_a_style_holds_to_the_end_of_a_book_and_headings_stand_alone(tmp_path: Path) -> None:
    lines = "* " * 500  # a passage without a word
    (tmp_path / "book.txt").write_text(f"(fast) Chapter One\n\n{BOOK}\n\n{lines}\n\nThe end.")
    load = Loaded()
    assert say(["--file", tmp_path / "book.txt", "-o", tmp_path / "out.wav"], load) == 0
    assert len(load.engines[0].requests) == 32
    pcm, rate_hz = read_audio(tmp_path / "out.wav")
    breaths = 0.3 * round((len(pcm) / rate_hz - 32 * 0.36 / 1.15) / 0.3)
    assert abs(len(pcm) / rate_hz - 32 * 0.36 / 1.15 - breaths) < 0.1
    assert 3 <= round(breaths / 0.3) <= 4


def test_what_was_read_another_way_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(BOOK)
    (tmp_path / ".out.wav.parts").mkdir()
    (tmp_path / ".out.wav.parts" / "0123.wav").write_bytes(b"of an earlier book")
    load = Loaded()
    assert say(["--file", tmp_path / "book.txt", "-o", tmp_path / "out.wav"], load) == 0
    assert len(load.engines[0].requests) == 30


def test_a_folder_of_lines_becomes_a_folder_of_wavs(tmp_path: Path) -> None:
    lines, out = tmp_path / "lines", tmp_path / "wavs"
    lines.mkdir()
    (lines / "a.txt").write_text("One.\n\nThree.\n")
    (lines / "b.txt").write_text("Two.")
    (lines / "c.md").write_text("not this")
    first, second = Loaded(), Loaded()
    assert say(["--file", lines, "-o", out], first) == 0
    assert {path.name for path in out.iterdir()} == {"a-0001.wav", "a-0003.wav", "b-0001.wav"}
    (out / "a-0003.wav").unlink()
    assert say(["--file", lines, "-o", out], second) == 0
    assert len(second.engines[0].requests) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "a.wav"], "either a text or --file"),
        (["Hello.", "--file", "b.txt", "-o", "a.wav"], "either a text or --file"),
        (["", "-o", "a.wav"], "nothing to read"),
        (["?!", "-o", "a.wav"], "nothing to read"),
        (["Hello.", "-o", "a.midi"], "wav, pcm, mp3"),
        (["Hello."], "-o FILE; or --show-reading"),
        (["--file", "missing.txt", "-o", "a.wav"], "cannot read"),
        (["--file", "latin.txt", "-o", "a.wav"], "UTF-8"),
        (["--file", "empty", "-o", "out"], "no line to read"),
        (["--file", "lines", "-o", "wavs.mp3"], "named like a file: -o wavs"),
        (["Hello.", "--speed", "9", "-o", "a.wav"], "0.25..4"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.txt").write_bytes("Grüße.".encode("latin-1"))
    Path("empty").mkdir()
    Path("lines").mkdir()
    Path("lines", "a.txt").write_text("One.")
    assert say(arguments, Loaded()) == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"latin.txt", "empty", "lines"}


def test_progress_says_how_long_the_rest_takes() -> None:
    progress = Progress(100, io.StringIO(), width=10)
    progress.add(50, worked=False)
    assert progress.line(5.0) == "[#####.....]  50 %"
    progress.add(25)
    assert progress.line(5.0) == "[#######...]  75 %, 0:05 left"
    progress.add(25)
    assert progress.line(6.0) == "[##########] 100 %, 0:00 left"


def test_progress_is_quiet_where_nobody_looks_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.txt").write_text(BOOK)
    assert say(["--file", tmp_path / "book.txt", "-o", tmp_path / "out.wav"], Loaded()) == 0
    assert capsys.readouterr() == ("", "")


def no_parts(profile: Profile) -> FakeParts:
    raise AssertionError(f"{profile.model_name} was loaded")


def test_show_reading_prints_a_sentence_a_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        "(slow) It cost $5.3 billion. The film (English) was long.\n\n* * *\n\nGo to example.com."
    )
    assert main(["say", text, "--show-reading"], no_parts) == 0
    assert capsys.readouterr() == (
        "It cost five point three billion dollars.\nThe film (English) was long.\n"
        "Go to example dot com.\n",
        "",
    )
    assert list(tmp_path.iterdir()) == []


def test_show_reading_takes_files_and_folders_and_says_what_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("One.\nПривет, мир.\nTwo мир.")
    (tmp_path / "b.txt").write_text("Three.")
    assert main(["say", "--file", str(tmp_path), "--show-reading"], no_parts) == 0
    out, err = capsys.readouterr()
    assert out == "One.\nTwo.\nThree.\n"
    assert "there is nothing of it in 'Привет, мир.'" in err
    assert "left out 'мир'" in err
    one = ["say", "--file", str(tmp_path / "a.txt"), "--show-reading", "--unreadable", "skip"]
    assert main(one, no_parts) == 0
    assert "left out 'Привет, мир.'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "read"),
    [
        (["--no-numbers"], "Pay $5 at x dot org slash a."),
        (["--addresses", "host"], "Pay five dollars at x dot org."),
        (["--addresses", "omit"], "Pay five dollars at."),
        (["--no-style-tags"], "(sad) Pay five dollars at x dot org slash a."),
        (["--no-markdown"], "Pay five dollars at x dot org slash a."),
    ],
)
def test_flags_say_what_of_a_text_is_read(
    flags: list[str], read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "(sad) Pay $5 at https://x.org/a."
    assert main(["say", text, "--show-reading", *flags], no_parts) == 0
    assert capsys.readouterr().out == f"{read}\n"


def test_the_profile_says_it_where_no_flag_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEP_AUDIO__TEXT_OPTIONS__NUMBERS", "false")
    assert main(["say", "$5", "--show-reading"], no_parts) == 0
    assert main(["say", "$5", "--show-reading", "--numbers"], no_parts) == 0
    assert capsys.readouterr().out == "$5\nfive dollars\n"


def test_a_book_is_read_without_the_sentences_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.txt").write_text(f"{BOOK} Конец.\n\n" + "Нет. " * 200)
    load = Loaded()
    arguments: list[str | Path] = ["--file", tmp_path / "book.txt", "-o", tmp_path / "out.wav"]
    assert say([*arguments, "--unreadable", "skip"], load) == 0
    assert len(load.engines[0].requests) == 30
    assert "left out 'Конец.'" in capsys.readouterr().err


def test_a_book_with_a_rap_is_refused_before_an_hour_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.txt").write_text(f"{BOOK}\n\n(RAP) Yo.")
    load = Loaded()
    assert say(["--file", tmp_path / "book.txt", "-o", tmp_path / "a.wav"], load) == 2
    assert "does not do (RAP)" in capsys.readouterr().err
    assert not load.engines[0].requests


class SmallWorld(FakeParts):
    """A model that was taught one sentence."""

    def settings(self) -> DialogSettings:
        return replace(super().settings(), domain=read_domain("< hello\nhello >"))


def test_sentences_that_were_not_taught_are_told_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(profile: Profile) -> FakeParts:
        return SmallWorld(profile, SPOKEN, SPOKEN)

    text = "Hello. My sister lives here."
    assert main(["say", text, "-o", str(tmp_path / "a.wav")], load) == 0
    told = capsys.readouterr().err
    assert "1 of 2 sentences lie outside what step-audio-nano can read" in told
    assert "My sister lives here." in told
    assert main(["say", "Hello!", "-o", str(tmp_path / "b.wav")], load) == 0
    assert "outside" not in capsys.readouterr().err
