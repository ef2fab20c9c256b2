"""The recordings behind the published models' named voices: fetched, checked, kept.

They lie in the code repository, not on the hub, and are not ours to ship: they are fetched on a
user's command from one pinned commit. `speakers.json` lists them with their digests.
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Final

import httpx

from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.json_files import read_object

CODE_HOST: Final = "https://raw.githubusercontent.com"
KEPT_IN: Final = "recordings"
"""Folder below the weights."""
_TRIES: Final = 4
_TIMEOUT: Final = httpx.Timeout(30.0)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES: Final = 64 << 20


class RecordingsMissing(StepAudioError):
    """The host did not give the recordings; what has come so far is kept."""

    code = "download_failed"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the code repository, with the size and SHA-256 of its content."""

    path: str
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """Its name without folders."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class SpeakerListing:
    """Which recordings make which voices.

    Attributes:
        repository, commit: where they come from.
        licence: what is known of the right to use them.
        words: JSON file that says what is said in each recording, by its name.
        speakers: voice -> style tag, "" for plain speech -> recording.
    """

    repository: str
    commit: str
    licence: str
    words: ListedFile
    speakers: Mapping[str, Mapping[str, ListedFile]]

    @property
    def files(self) -> list[ListedFile]:
        """All files, the words first."""
        return [self.words, *(f for styles in self.speakers.values() for f in styles.values())]


def read_listing(path: Path | None = None) -> SpeakerListing:
    """Return a list of recordings, the shipped one by default. Raises InputError: not such one."""
    if path is None:
        with resources.as_file(resources.files(__package__) / "speakers.json") as shipped:
            return read_listing(shipped)
    match read_object(path):
        case {
            "repository": str(repository),
            "commit": str(commit),
            "licence": str(licence),
            "words": words,
            "speakers": dict(speakers),
        } if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) and re.fullmatch(r"\w{4,64}", commit):
            return SpeakerListing(
                repository, commit, licence, _file(words, path), _speakers(speakers, path)
            )
    raise InputError(f"{path} is no list of recordings; see step_audio/published/speakers.json")


def _speakers(raw: Mapping[str, Any], path: Path) -> dict[str, dict[str, ListedFile]]:
    found: dict[str, dict[str, ListedFile]] = {}
    for name, styles in raw.items():
        if (
            not re.fullmatch(r"\w[\w-]{0,63}", name)
            or not isinstance(styles, dict)
            or "" not in styles
        ):
            raise InputError(
                f"{path}: speaker {name!r} needs a recording of plain speech, under ''"
            )
        if not set(styles) <= {"", "RAP", "哼唱"}:
            raise InputError(f"{path}: recordings of {name!r} may be '', RAP or 哼唱")
        found[name] = {style: _file(entry, path) for style, entry in styles.items()}
    return found


def _file(raw: object, path: Path) -> ListedFile:
    match raw:
        case {"path": str(where), "bytes": int(size), "sha256": str(digest)}:
            parts = PurePosixPath(where).parts
            inside = parts and ".." not in parts and "\\" not in where and where[0] not in "/."
            if inside and 0 < size <= _MOST_BYTES and _SHA256.fullmatch(digest):
                return ListedFile(where, size, digest)
    raise InputError(f"{path}: a recording needs its path inside the repository, bytes and sha256")


def fetch_recordings(listing: SpeakerListing, folder: Path, host: str = CODE_HOST) -> list[Path]:
    """Fetch what is not in `folder` yet, and return all files; goes on where it was cut.

    Args:
        listing: what to fetch.
        folder: made where missing.
        host: address of raw files: `HOST/REPOSITORY/COMMIT/PATH`.

    Raises:
        InputError: no address. RecordingsMissing: the host lacks one, or gave another content.
    """
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", host):
        raise InputError(f"{host!r} is no address of a host; expected https://...")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
            return [_fetch(client, listing, file, folder, host) for file in listing.files]
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None


def _fetch(
    client: httpx.Client, listing: SpeakerListing, file: ListedFile, folder: Path, host: str
) -> Path:
    output = folder / file.name
    if output.is_file() and _digest(output) == file.sha256:
        return output
    part = output.with_name(output.name + ".part")
    place = urllib.parse.quote(f"{listing.repository}/{listing.commit}/{file.path}")
    reason = "cut short"
    for _ in range(_TRIES):
        done = part.stat().st_size if part.is_file() else 0
        if done == file.bytes:
            break
        try:
            _append(client, f"{host.rstrip('/')}/{place}", part, done, file.bytes)
        except httpx.HTTPStatusError as error:
            reason = f"the host answers {error.response.status_code}"
            break
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
    if not part.is_file() or part.stat().st_size != file.bytes:
        raise RecordingsMissing(f"{file.path} from {host}: {reason}; run the command again")
    if _digest(part) != file.sha256:
        part.unlink()
        raise RecordingsMissing(
            f"{file.path} is not the recording that is listed: its hash differs"
        )
    part.replace(output)
    return output


def _append(client: httpx.Client, url: str, part: Path, done: int, size: int) -> None:
    """Write what is missing of a file behind what is there."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with client.stream("GET", url, headers=headers) as answer:
        answer.raise_for_status()
        if done and answer.status_code != 206:  # the host does not resume: from the beginning
            done = 0
        with part.open("ab" if done else "wb") as out:
            for block in answer.iter_raw():
                done += len(block)
                if done > size:
                    raise httpx.DecodingError("more came than is listed")
                out.write(block)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
