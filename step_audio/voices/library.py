"""Voices that people add: a folder each, below one folder that the profile names.

    voice.json       name, text, consent note, time, what was done, which weights made the arrays
    prompt.wav       the prepared recording, mono PCM16; untrimmed and at its own level where the
                     weights take examples so
    embedding.npy, prompt.json, prompt_mel.npy    as `step_audio.voices.folder` reads them

A folder's name is drawn at random; the voice's own name is only text in voice.json, so no name is
ever a path. When the weights change, the arrays are made again from prompt.wav.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from step_audio.core.audio import float_to_pcm16, pcm16_to_float, read_audio, write_wav
from step_audio.core.errors import InputError, StepAudioError, VoiceNotFound, VoiceRefused
from step_audio.core.json_files import read_object
from step_audio.core.types import Pcm, Recording, Voice, VoiceFacts
from step_audio.voices.folder import FolderVoices, read_voice, write_voice
from step_audio.voices.sample import LONGEST_S, prepare_sample

if TYPE_CHECKING:
    from step_audio.voices.making import VoiceMaker  # brings torch, which listing does without

MAX_NAME: Final = 64
MAX_TEXT: Final = 1000
MAX_CONSENT: Final = 1000
_KEPT: Final = "voice-"
_REFERENCE_NOTES: Final = {
    "reference": ("tokens of the trimmed, levelled sound; mel and speaker vector of all of it",),
    "stream": (),
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A voice on disk."""

    folder: Path
    facts: VoiceFacts
    made_with: str


_Version = tuple[int, int, int]
"""Of a file: when it was written, its size, its inode."""


class UserVoices:
    """The weights' own voices and those in `folder`: a VoiceStore and a VoiceLibrary in one.

    Safe to use from several threads; several processes see each other's voices. Each call looks at
    the disk, and the first `get` after new weights makes the voice: call it in a worker thread.

    Args:
        built_in: voices that ship with the weights.
        folder: where voices are kept; made when the first is added.
        maker: returns what makes voices; called when one has to be made.
        made_with: tells one set of weights from another.
        limit: most voices that people may add.
    """

    def __init__(
        self,
        built_in: FolderVoices,
        folder: Path,
        maker: Callable[[], VoiceMaker],
        made_with: str,
        limit: int = 200,
    ) -> None:
        self._built_in, self._folder, self._maker = built_in, folder, maker
        self._made_with, self._limit = made_with, limit
        self._loaded: dict[Path, Voice] = {}
        self._loading: dict[Path, threading.Lock] = {}
        self._facts: dict[Path, tuple[_Version, _Kept | None]] = {}
        self._change = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """Return the built-in names, then those that were added, each in alphabetical order."""
        return (*self._built_in.names(), *self._kept())

    def get(self, name: str) -> Voice:
        """Return a voice. Raises VoiceNotFound; AudioError, WeightsError: its files are damaged."""
        if name in self._built_in.names():
            return self._built_in.get(name)
        kept = self._find(name)
        if (voice := self._loaded.get(kept.folder)) is not None:
            return voice
        # Many sessions may ask for the same voice at once: one makes it, for all of them.
        with self._change:
            loading = self._loading.setdefault(kept.folder, threading.Lock())
        with loading:
            if (voice := self._loaded.get(kept.folder)) is None:
                voice = self._loaded[kept.folder] = self._load(kept)
        return voice

    def facts(self, name: str) -> VoiceFacts:
        """Return what is known of a voice. Raises VoiceNotFound."""
        if name in self._built_in.names():
            return self._built_in.facts(name)
        return self._find(name).facts

    def place(self, name: str) -> Path | None:
        """Return the folder of an added voice, None of a built-in one. Raises VoiceNotFound."""
        return None if name in self._built_in.names() else self._find(name).folder

    def add(self, name: str, recording: Recording, *, text: str, consent: str) -> VoiceFacts:
        """Make a voice of a recording and keep it. See `VoiceLibrary.add`."""
        name, text, consent = _words(name), " ".join(text.split()), consent.strip()
        self._check(name, text, consent)
        sample = prepare_sample(recording)
        maker = self._maker()
        sound = sample.whole if maker.examples == "reference" else sample.pcm
        # Made of what the file will hold, so that making it again later gives the same.
        pcm = pcm16_to_float(float_to_pcm16(sound))
        voice, note = maker.make(name, text, pcm, sample.rate_hz)
        facts = VoiceFacts(
            name=name,
            built_in=False,
            text=text,
            prompt_s=len(pcm) / sample.rate_hz,
            consent=consent,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            notes=(*sample.notes, *_REFERENCE_NOTES[maker.examples], note),
        )
        with self._change:
            self._check(name, text, consent)  # another call may have taken the name meanwhile
            folder = self._write(facts, voice, pcm, sample.rate_hz)
            self._loaded[folder] = voice
        return facts

    def remove(self, name: str) -> None:
        """Erase a voice. Raises VoiceNotFound, VoiceRefused: it ships with the weights."""
        if name in self._built_in.names():
            raise VoiceRefused(f"voice {name!r} ships with the weights and cannot be removed")
        with self._change:
            kept = self._find(name)
            self._loaded.pop(kept.folder, None)
            self._loading.pop(kept.folder, None)
            # Out of sight in one step; what is left after a crash is swept by the next removal.
            gone = kept.folder.with_name(f".gone-{kept.folder.name}")
            try:
                kept.folder.rename(gone)
            except OSError as error:
                raise VoiceRefused(f"cannot erase {kept.folder}: {error.strerror}") from error
            for left in self._folder.glob(".gone-*"):
                shutil.rmtree(left, ignore_errors=True)

    def _check(self, name: str, text: str, consent: str) -> None:
        known = self.names()
        if not is_a_name(name):
            raise VoiceRefused(
                f"voice name {name[:80]!r}: give 1 to {MAX_NAME} printable characters,"
                " none of . / - in front"
            )
        if name.casefold() in {taken.casefold() for taken in known}:
            raise VoiceRefused(f"there is a voice {name!r} already; remove it or choose another")
        if not 0 < len(text) <= MAX_TEXT:
            raise VoiceRefused(f"give the words of the recording, at most {MAX_TEXT} characters")
        if not 0 < len(consent) <= MAX_CONSENT:
            raise VoiceRefused(
                "say who agreed to the use of this voice, for example 'my own voice'"
                f" (at most {MAX_CONSENT} characters)"
            )
        if len(known) - len(self._built_in.names()) >= self._limit:
            raise VoiceRefused(f"{self._limit} voices were added already; remove one first")

    def _find(self, name: str) -> _Kept:
        kept = self._kept()
        try:
            return kept[name]
        except KeyError:
            raise VoiceNotFound(name, (*self._built_in.names(), *kept)) from None

    def _kept(self) -> dict[str, _Kept]:
        """Return the voices on disk by name; what cannot be read is left out and logged.

        A file is read again only when it has changed.
        """
        facts: dict[Path, tuple[_Version, _Kept | None]] = {}
        found: dict[str, _Kept] = {}
        for path, version in _listed(self._folder):
            seen, kept = self._facts.get(path, (None, None))
            if seen != version:
                kept = _readable(path)
            facts[path] = version, kept
            if kept is not None and kept.facts.name not in self._built_in.names():
                found.setdefault(kept.facts.name, kept)
        self._facts = facts
        return dict(sorted(found.items()))

    def _load(self, kept: _Kept) -> Voice:
        """Read a voice's arrays, or make them again where other weights made them."""
        if kept.made_with == self._made_with:
            return read_voice(kept.folder, kept.facts.name, prompt=True, mel=True)
        pcm, rate_hz = read_audio(kept.folder / "prompt.wav", LONGEST_S + 1)
        facts = kept.facts
        voice, note = self._maker().make(facts.name, facts.text, pcm, rate_hz)
        notes = (*facts.notes[:-1], note)
        try:
            write_voice(kept.folder, voice)
            _write_facts(kept.folder, replace(facts, notes=notes), self._made_with)
        except OSError:
            # A folder that cannot be written, as in a container: made again at each start.
            _log.warning("a voice cannot be kept", extra={"path": str(kept.folder)})
        return voice

    def _write(self, facts: VoiceFacts, voice: Voice, pcm: Pcm, rate_hz: int) -> Path:
        folder = self._folder / f"{_KEPT}{secrets.token_hex(8)}"
        part = folder.with_name(f".part-{folder.name}")
        try:
            part.mkdir(parents=True, mode=0o700)
            write_wav(part / "prompt.wav", pcm, rate_hz)
            write_voice(part, voice)
            _write_facts(part, facts, self._made_with)
            part.rename(folder)
        except (OSError, StepAudioError) as error:
            shutil.rmtree(part, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise VoiceRefused(f"cannot keep the voice in {self._folder}: {reason}") from error
        return folder


def _listed(folder: Path) -> list[tuple[Path, _Version]]:
    """Return the descriptions of voices in `folder`, in the order of their names."""
    found: list[tuple[Path, _Version]] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            path = os.path.join(entry.path, "voice.json")
            if entry.name.startswith(_KEPT):
                with contextlib.suppress(OSError):  # removed meanwhile, or not finished
                    status = os.stat(path)
                    version = status.st_mtime_ns, status.st_size, status.st_ino
                    found.append((Path(path), version))
    return sorted(found)


def _readable(path: Path) -> _Kept | None:
    try:
        return _read_facts(path)
    except InputError:
        _log.warning("a voice cannot be read", extra={"path": str(path)})
        return None


def is_a_name(name: str) -> bool:
    """Return whether a voice may be called so; the page's field has the same rule."""
    name = _words(name)
    return 0 < len(name) <= MAX_NAME and name.isprintable() and name[0] not in "./-"


def _words(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split(" ")).strip()


def _write_facts(folder: Path, facts: VoiceFacts, made_with: str) -> None:
    listed = {
        "format": 1,
        "name": facts.name,
        "text": facts.text,
        "prompt_s": facts.prompt_s,
        "consent": facts.consent,
        "created": facts.created,
        "notes": list(facts.notes),
        "made_with": made_with,
    }
    text = json.dumps(listed, indent=1, ensure_ascii=False) + "\n"
    (folder / "voice.json").write_text(text, encoding="utf-8")


def _read_facts(path: Path) -> _Kept:
    """Return a voice's facts. Raises InputError: not as `_write_facts` writes them."""
    match read_object(path):
        case {
            "format": 1,
            "name": str(name),
            "text": str(text),
            "prompt_s": float(prompt_s),
            "consent": str(consent),
            "created": str(created),
            "notes": list(notes),
            "made_with": str(made_with),
        } if name and all(isinstance(note, str) for note in notes):
            facts = VoiceFacts(
                name,
                built_in=False,
                text=text,
                prompt_s=prompt_s,
                consent=consent,
                created=created,
                notes=tuple(notes),
            )
            return _Kept(path.parent, facts, made_with)
        case _:
            raise InputError(f"{path} does not describe a voice")
