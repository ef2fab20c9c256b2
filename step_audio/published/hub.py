"""A model hub over HTTP: what a repository holds at a commit, and its files, resumable.

Speaks the two addresses of Hugging Face's hub that a download needs, so mirrors do as well:
`/api/models/REPO/revision/REV?blobs=true` and `/REPO/resolve/COMMIT/PATH`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

import httpx

from step_audio.core.errors import InputError, StepAudioError

_BLOCK: Final = 1 << 20
_TRIES: Final = 4
_TIMEOUT: Final = httpx.Timeout(30.0)
_HEX: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class DownloadFailed(StepAudioError):
    """The hub did not give what was asked for; what has come so far is kept."""

    code = "download_failed"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository.

    Attributes:
        path: inside the repository.
        digest: SHA-256 of the content, or the SHA-1 that git gives it (40 digits).
    """

    path: str
    size: int
    digest: str


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Hub:
    """A client; close it, or use it in a `with`."""

    def __init__(self, address: str) -> None:
        """Remember the address. Raises InputError: not http(s)."""
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", address):
            raise InputError(f"{address!r} is no address of a hub; expected https://...")
        self._address = address.rstrip("/")
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def files(self, repository: str, revision: str) -> tuple[str, list[RemoteFile]]:
        """Return the commit that a revision stands for, and the files there.

        Raises:
            DownloadFailed: no such repository or revision, or the hub cannot be reached.
        """
        url = f"{self._address}/api/models/{repository}/revision/{revision}"
        try:
            answer = self._client.get(url, params={"blobs": "true"})
        except httpx.HTTPError as error:
            raise DownloadFailed(f"cannot reach {self._address}: {error}") from None
        if answer.status_code != 200:
            raise DownloadFailed(
                f"{repository} at {revision}: the hub answers {answer.status_code};"
                " check the name, the revision and whether it asks for a login"
            )
        try:
            match answer.json():
                case {"sha": str(commit), "siblings": list(entries)} if _HEX.fullmatch(commit):
                    return commit, [_file(entry) for entry in entries]
        except ValueError:
            pass
        raise DownloadFailed(f"{repository}: not the answer of a model hub")

    def fetch(
        self,
        repository: str,
        commit: str,
        file: RemoteFile,
        output: Path,
        progress: Callable[[int], None],
    ) -> None:
        """Write a file; goes on where an earlier try stopped, and checks the hash at the end.

        Raises:
            DownloadFailed: after several tries, or when the content is not what was announced.
        """
        part = output.with_name(output.name + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        url = f"{self._address}/{repository}/resolve/{commit}/{file.path}"
        reason = ""
        for _ in range(_TRIES):
            done = part.stat().st_size if part.exists() else 0
            if done > file.size:
                part.unlink()
                done = 0
            if done == file.size and part.exists():
                break
            try:
                self._append(url, part, done, file.size, progress)
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
        if not part.exists() or part.stat().st_size != file.size:
            raise DownloadFailed(f"{file.path}: {reason or 'cut short'}; run the command again")
        if _digest(part, file) != file.digest:
            part.unlink()
            raise DownloadFailed(f"{file.path}: its hash differs from the hub's; run it again")
        part.replace(output)

    def _append(
        self, url: str, part: Path, done: int, size: int, progress: Callable[[int], None]
    ) -> None:
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with self._client.stream("GET", url, headers=headers) as answer:
            answer.raise_for_status()
            if done and answer.status_code != 206:  # the hub does not resume: from the beginning
                progress(-done)
                done = 0
            with part.open("ab" if done else "wb") as out:
                for block in answer.iter_raw():  # not in blocks: the last one may never fill
                    if done + len(block) > size:
                        raise httpx.DecodingError("more came than was announced")
                    out.write(block)
                    done += len(block)
                    progress(len(block))


def _file(entry: Any) -> RemoteFile:
    """Return a checked entry of the hub's list; its path must stay inside."""
    match entry:
        case {"rfilename": str(path), "size": int(size), "lfs": {"sha256": str(digest)}}:
            pass
        case {"rfilename": str(path), "size": int(size), "blobId": str(digest)}:
            pass
        case _:
            raise DownloadFailed("the hub lists a file without size and hash")
    parts = PurePosixPath(path).parts
    inside = parts and not path.startswith("/") and ".." not in parts and "\\" not in path
    if not inside or size < 0 or not _HEX.fullmatch(digest):
        raise DownloadFailed(f"the hub lists {path!r}, which cannot be a file of a repository")
    return RemoteFile(path, size, digest)


def _digest(path: Path, file: RemoteFile) -> str:
    """Return the hash of a file in the hub's terms: SHA-256, or git's own."""
    made: _Hash = hashlib.sha256()
    if len(file.digest) == 40:
        made = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            made.update(block)
    return made.hexdigest()
