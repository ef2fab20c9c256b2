"""A weights folder: found, checked against its manifest, its trained facts read. Stdlib only.

    manifest.json   every file with its size and SHA-256
    facts.json      what training fixed: the vocabulary, the most ids of a sequence
    MODEL_CARD.md   where it comes from and what it can do
    tokenizer/ lm/ vocoder/ voices/

Loaders open files through `Weights.path`, so nothing that the manifest lacks is ever read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, cast

from step_audio.core.errors import WeightsError
from step_audio.core.json_files import read_object
from step_audio.core.vocab import (
    OWN_CHAT,
    OWN_SPEECH,
    PUBLISHED_CHAT,
    PUBLISHED_SPEECH,
    HeaderIds,
    Vocab,
)

MANIFEST: Final = "manifest.json"
FACTS: Final = "facts.json"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of the manifest: its size and the SHA-256 of its content, in hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What training fixed. The defaults are those of models of our own; `PUBLISHED` has the others.

    Attributes:
        vocab: ids of the LM.
        context: most ids of a sequence that the LM was trained on.
        chat_headers: of prompts that ask for an answer. The published scripts encode the whole
            prompt as one text: one `<s>`, roles without a dummy space.
        speech_headers: of prompts that ask for a text read aloud in a voice.
        examples: how a voice's example is made: "reference" as the published script does, "stream"
            as a live question is heard.
    """

    vocab: Vocab = field(default_factory=Vocab)
    context: int = 32768
    chat_headers: HeaderIds = OWN_CHAT
    speech_headers: HeaderIds = OWN_SPEECH
    examples: Literal["reference", "stream"] = "stream"


PUBLISHED: Final = Facts(
    chat_headers=PUBLISHED_CHAT, speech_headers=PUBLISHED_SPEECH, examples="reference"
)
"""Of the published models, whose folders hold no `facts.json`."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights folder whose manifest was read; `verify` reads the files too."""

    folder: Path
    files: Mapping[str, FileFacts]
    facts: Facts

    @property
    def total_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.bytes for file in self.files.values())

    def path(self, name: str) -> Path:
        """Return the path of `lm/model.safetensors` and the like.

        Raises:
            WeightsError: the manifest lacks it.
        """
        if name not in self.files:
            raise WeightsError(f"{self.folder} has no {name}: its {MANIFEST} does not list it")
        return self.folder / name

    def verify(self) -> None:
        """Read every file and compare it with the manifest.

        Raises:
            WeightsError: naming the first file that is missing, cut short or altered.
        """
        for name, file in self.files.items():
            _check_size(self.folder / name, file.bytes)
            if _sha256(self.folder / name) != file.sha256:
                raise WeightsError(f"{self.folder / name} was altered: its SHA-256 differs")


def open_weights(folder: Path, origin: str) -> Weights:
    """Return the weights in `folder`; checks that each file is there and as long as listed.

    Args:
        folder: where they should be.
        origin: how to get them, for the message when they are missing.

    Raises:
        WeightsError: missing, or not as its manifest says.
    """
    if not folder.is_dir():
        raise WeightsError(f"no weights at {folder}; to get them: {origin}")
    if not (folder / MANIFEST).is_file():
        raise WeightsError(
            f"{folder} has no {MANIFEST}; to complete the folder: {origin};"
            f" where all files are there already: step-audio record {folder}"
        )
    files = _read_manifest(folder)
    for name, file in files.items():
        _check_size(folder / name, file.bytes)
    return Weights(folder, files, _read_facts(folder) if FACTS in files else PUBLISHED)


def record(folder: Path) -> Weights:
    """Write `manifest.json` for what is in `folder` now, and return it opened.

    Raises:
        WeightsError: the folder is missing or empty, or its facts do not read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    if not paths:
        raise WeightsError(f"{folder} holds no files to record")
    listed = {
        path.relative_to(folder).as_posix(): FileFacts(path.stat().st_size, _sha256(path))
        for path in paths
    }
    _write_manifest(folder, listed)
    return open_weights(folder, str(folder))


def record_more(folder: Path, names: Iterable[str]) -> Weights:
    """Add files to the manifest, or renew their entries, without reading the others again.

    Raises:
        WeightsError: the folder has no manifest, or a file is missing.
    """
    # Not opened: a file that is renewed is not as its old entry says.
    files = _read_manifest(folder)
    for name in names:
        path = folder / _safe(name, folder / MANIFEST)
        if not path.is_file():
            raise WeightsError(f"{path} is missing; it cannot be recorded")
        files[name] = FileFacts(path.stat().st_size, _sha256(path))
    _write_manifest(folder, {name: files[name] for name in sorted(files)})
    return open_weights(folder, str(folder))


def write_facts(folder: Path, facts: Facts) -> None:
    """Write `facts.json`; call it before `record`."""
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=1) + "\n")


def _write_manifest(folder: Path, files: Mapping[str, FileFacts]) -> None:
    listed = {name: asdict(facts) for name, facts in files.items()}
    text = json.dumps({"format": 1, "files": listed}, indent=1)
    (folder / MANIFEST).write_text(text + "\n")


def _read_manifest(folder: Path) -> dict[str, FileFacts]:
    path = folder / MANIFEST
    match read_object(path, WeightsError):
        case {"format": 1, "files": dict(listed)} if listed:
            return {
                _safe(name, path): _file_facts(name, entry, path) for name, entry in listed.items()
            }
        case _:
            raise WeightsError(f'{path} is not a manifest: expected "format": 1 and "files"')


def _safe(name: str, manifest: Path) -> str:
    """Return `name`: a manifest must not lead out of its folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise WeightsError(f"{manifest} lists {name!r}, which is no path inside its folder")
    return name


def _file_facts(name: str, entry: object, manifest: Path) -> FileFacts:
    match entry:
        case {"bytes": int(size), "sha256": str(digest)} if size >= 0 and len(digest) == 64:
            return FileFacts(size, digest)
        case _:
            raise WeightsError(f"{manifest}: {name} needs its bytes and sha256")


def _read_facts(folder: Path) -> Facts:
    path = folder / FACTS
    known = {known.name: known.default for known in fields(Vocab)}
    match read_object(path, WeightsError):
        case {"vocab": dict(vocab), "context": int(context), **rest} if context > 0:
            if not all(
                name in known and _is_fact(value, known[name]) for name, value in vocab.items()
            ):
                raise WeightsError(f"{path}: vocab may hold ids for {', '.join(known)}")
            return Facts(Vocab(**vocab), context, **_read_prompt_facts(rest, path))
        case _:
            raise WeightsError(f"{path} must hold a vocab and a context")


def _read_prompt_facts(rest: Mapping[str, object], path: Path) -> dict[str, Any]:
    """Return the facts that files of models of our own leave out."""
    found: dict[str, Any] = {}
    for name, value in rest.items():
        match name, value:
            case "chat_headers" | "speech_headers", {"bos": bool(bos), "roles": str(roles), **more}:
                if more or roles not in ("spaced", "bare", "bos"):
                    raise WeightsError(f"{path}: {name}.roles may be spaced, bare or bos")
                found[name] = HeaderIds(bos, cast("Any", roles))
            case "examples", "reference" | "stream":
                found[name] = value
            case _:
                raise WeightsError(f"{path}: {name!r} is no fact, or not written as one")
    return found


def _is_fact(value: object, default: object) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    return _is_id(value) or (value is None and default is None)


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} is missing; fetch the weights again")
    size = path.stat().st_size
    if size != expected:
        raise WeightsError(f"{path} has {size} bytes, not {expected}; fetch the weights again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
