"""`say`: a text, a book, or a folder of lines read aloud into sound files.

A book is read in passages. Each is kept in a folder beside the output until the whole is done, so
that a reading that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from step_audio.cli.output import prepare
from step_audio.cli.parts import CommandParts, Load
from step_audio.cli.sound_files import format_of, write_sound
from step_audio.cli.speech import assistant_of
from step_audio.core.audio import read_audio, write_wav
from step_audio.core.config import load_profile
from step_audio.core.encoding import FORMATS
from step_audio.core.errors import EngineError, InputError
from step_audio.core.profile import Profile
from step_audio.core.types import Pcm, TextOptions
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.speakable.characters import has_words
from step_audio.dialog.speakable.reader import SentenceReader, check_text
from step_audio.dialog.speakable.scripts import UnreadableText
from step_audio.dialog.speakable.sentences import sentences
from step_audio.dialog.speakable.style_tags import ReadingStyle, last_tag, styled

PASSAGE_CHARS: Final = 800
"""About a minute of speech: what is read again at most after a stop."""
MAX_WARNINGS: Final = 20
MAX_BOOK_BYTES: Final = 32 << 20


def say(args: argparse.Namespace, load: Load) -> int:
    """Read aloud: the text given, or `--file`, into `--output`."""
    if (args.text is None) == (args.file is None):
        raise InputError("give either a text or --file")
    if args.show_reading:
        return _show(args)
    if args.output is None:
        raise InputError("say where the sound goes: -o FILE; or --show-reading")
    if args.file is not None and args.file.is_dir():
        return _lines(args, load)
    format_of(args.output)
    prepare(args.output)
    text = args.text if args.file is None else _text_of(args.file)
    reading = _FileReading(args, load)
    passages = list(_passages(text, style_tags=reading.options.style_tags))
    if not passages:
        raise InputError("there is nothing to read in this text; give words")
    asyncio.run(reading.book(passages, args.output))
    return 0


def _show(args: argparse.Namespace) -> int:
    """Print what the model would be given, a sentence a line; nothing is loaded or written."""
    profile = load_profile(args.profile)
    options = _options(args, profile)
    for text in _texts(args):
        reader = SentenceReader(options, profile.dialog.languages, args.instructions)
        for written in sentences(text):
            try:
                spoken = reader.read(written)
            except UnreadableText as error:
                print(error, file=sys.stderr)
            else:
                print(*(f"{sentence.text}\n" for sentence in spoken), sep="", end="")
        print(*(f"{sentence.text}\n" for sentence in reader.end()), sep="", end="")
        _warn(reader.warnings)
    return 0


def _warn(warnings: Sequence[str]) -> None:
    """Say what is left out, each once, and of very many the first."""
    said = list(dict.fromkeys(warnings))
    for warning in said[:MAX_WARNINGS]:
        print(warning, file=sys.stderr)
    if len(said) > MAX_WARNINGS:
        print(f"and {len(said) - MAX_WARNINGS} more", file=sys.stderr)


def _texts(args: argparse.Namespace) -> Iterator[str]:
    if args.file is None:
        yield args.text
    elif args.file.is_dir():
        for path in sorted(args.file.glob("*.txt")):
            yield from _text_of(path).splitlines()
    else:
        yield _text_of(args.file)


def _options(args: argparse.Namespace, profile: Profile) -> TextOptions:
    asked = {field.name: getattr(args, field.name) for field in fields(TextOptions)}
    told = {name: value for name, value in asked.items() if value is not None}
    return replace(TextOptions(**profile.text_options.model_dump()), **told)


def _lines(args: argparse.Namespace, load: Load) -> int:
    """A folder of .txt files, each line a wav: `greetings.txt` -> `greetings-0001.wav`, ..."""
    jobs = [
        (args.output / f"{path.stem}-{number:04}.wav", line.strip())
        for path in sorted(args.file.glob("*.txt"))
        for number, line in enumerate(_text_of(path).splitlines(), start=1)
        if has_words(line)
    ]
    if not jobs:
        raise InputError(f"no line to read in the .txt files of {args.file}")
    if args.output.suffix.lower().lstrip(".") in FORMATS and not args.output.is_dir():
        raise InputError(
            f"{args.file} is a folder, so its lines go into a folder of wavs; {args.output} is "
            f"named like a file: -o {args.output.with_suffix('')}"
        )
    try:
        args.output.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {args.output}: {error.strerror}") from None
    asyncio.run(_FileReading(args, load).lines(jobs))
    return 0


class _FileReading:
    """One run of the command: the model is loaded when there is something left to read."""

    def __init__(self, args: argparse.Namespace, load: Load) -> None:
        self._args = args
        profile = load_profile(args.profile)
        self._parts: CommandParts = load(profile)
        self._languages = profile.dialog.languages
        self.options = _options(args, profile)
        self._model_name = profile.model_name
        self._voice = args.voice or profile.voice
        self._reading_style = ReadingStyle(speed=args.speed, instructions=args.instructions)
        # What, if changed, makes kept passages useless.
        self._made_with = [
            profile.model_name,
            self._voice,
            args.seed,
            args.speed,
            args.instructions,
            *astuple(self.options),
        ]

    async def book(self, passages: Sequence[str], output: Path) -> None:
        """Read passages into one file. Raises AudioError, EngineError, VoiceNotFound."""
        kept = output.with_name(f".{output.name}.parts")
        if len(passages) == 1:
            self._check(passages)
            async with assistant_of(self._parts, self._args.seed) as assistant:
                said = await self._read(assistant, passages[0])
            if said is None:
                raise InputError("nothing of this text can be read; see what was left out")
            write_sound([said], output)
            return
        kept.mkdir(exist_ok=True)
        files = [kept / f"{self._key(passage)}.wav" for passage in passages]
        await self._all([(f, p) for f, p in zip(files, passages, strict=True)])
        files = [file for file in files if file.is_file()]
        if not files:
            raise InputError("nothing of this text can be read; see what was left out")
        write_sound((read_audio(file, 3600) for file in files), output)
        shutil.rmtree(kept)

    async def lines(self, jobs: Sequence[tuple[Path, str]]) -> None:
        """Read each text into its own file."""
        await self._all(jobs)

    async def _all(self, jobs: Sequence[tuple[Path, str]]) -> None:
        self._check([text for _, text in jobs])
        left = [(path, text) for path, text in jobs if not path.is_file()]
        progress = Progress(sum(len(text) for _, text in jobs), sys.stderr)
        progress.add(sum(len(text) for path, text in jobs if path.is_file()), worked=False)
        if left:
            async with assistant_of(self._parts, self._args.seed) as assistant:
                for _, text in left:
                    assistant.refuse_unspeakable(text, self._args.instructions, self.options)
                for path, text in left:
                    if said := await self._read(assistant, text):
                        write_wav(path, *said)
                    progress.add(len(text))
        progress.end()

    def _check(self, texts: Sequence[str]) -> None:
        """Refuse what cannot be read before hours of reading, or say what is left out."""
        warnings = [w for text in texts for w in check_text(text, self.options, self._languages)]
        _warn(warnings)

    async def _read(self, assistant: Assistant, text: str) -> tuple[Pcm, int] | None:
        """Return a text as sound with its rate; None where all of it was to be left out."""
        outside, looked_at = assistant.settings.domain.outside(text)
        if outside:
            print(
                f"warning: {len(outside)} of {looked_at} sentences lie outside what "
                f"{self._model_name} can read and will not be understood: {outside[0][:60]}",
                file=sys.stderr,
            )
        chunks, rate_hz = list[Pcm](), 0
        reading = assistant.say(text, self._voice, self._reading_style, self.options)
        async with aclosing(reading) as said:
            async for chunk in said:
                chunks.append(chunk.pcm)
                rate_hz = chunk.rate_hz
        if not chunks and self.options != TextOptions():
            return None
        if not chunks:
            raise EngineError(f"the model read nothing of: {text[:60]}")
        return np.concatenate(chunks), rate_hz

    def _key(self, passage: str) -> str:
        """Return a name that says what is read, by whom and how."""
        said = json.dumps([passage, *self._made_with])
        return hashlib.sha256(said.encode()).hexdigest()[:24]


class Progress:
    """One line on a terminal: how much is read, and how long the rest takes.

    Where nobody looks on (a file, a pipe), nothing is written.
    """

    def __init__(self, total: int, out: TextIO, *, width: int = 30) -> None:
        self._total, self._out, self._width = max(1, total), out, width
        self._done = self._worked = 0
        self._start_s = time.monotonic()

    def add(self, chars: int, *, worked: bool = True) -> None:
        """Count `chars` as read; not `worked` when an earlier run had read them."""
        self._done += chars
        self._worked += chars if worked else 0
        self._show()

    def end(self) -> None:
        """Leave the line."""
        if self._out.isatty():
            print(file=self._out)

    def line(self, took_s: float) -> str:
        """Return what is shown after `took_s` seconds of work."""
        filled = self._width * self._done // self._total
        left = "" if not self._worked else _left(took_s, self._worked, self._total - self._done)
        percent = 100 * self._done // self._total
        return f"[{'#' * filled}{'.' * (self._width - filled)}] {percent:3} %{left}"

    def _show(self) -> None:
        if self._out.isatty():
            took_s = time.monotonic() - self._start_s
            print(f"\r{self.line(took_s)}", end="\033[K", file=self._out, flush=True)


def _left(took_s: float, done: int, rest: int) -> str:
    minutes, seconds = divmod(round(took_s * rest / done), 60)
    return f", {minutes}:{seconds:02} left"


def _passages(text: str, *, style_tags: bool) -> Iterator[str]:
    """Yield the text in whole sentences, as many at a time as make a passage.

    Each begins with the style tag that holds there, and is split into the same sentences again:
    a heading does not run into what follows it.
    """
    passage = ""
    for sentence in sentences(text):
        if passage and len(passage) + len(sentence) > PASSAGE_CHARS:
            if _has_words(passage, style_tags):
                yield passage
            passage = last_tag(passage) if style_tags else ""
        passage = f"{passage}\n\n{sentence}".strip()
    if _has_words(passage, style_tags):
        yield passage


def _has_words(passage: str, style_tags: bool) -> bool:
    return bool(styled(passage)) if style_tags else has_words(passage)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BOOK_BYTES:
            raise InputError(f"{path} is larger than {MAX_BOOK_BYTES >> 20} MiB; cut it")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no UTF-8 text; convert it") from None
