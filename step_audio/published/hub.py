"""A model hub: what a repository holds at a commit, and its files, resumable.

`huggingface_hub` asks and transfers, with the user's login (`HF_TOKEN`) and mirror (`HF_ENDPOINT`).
Ours are the partial file that outlives a failed run and the hash of what came: the library's own
`hf_hub_download` throws the one away and does not compute the other.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers, silent_tqdm

from step_audio.core.errors import InputError, StepAudioError

_BLOCK: Final = 1 << 20
_TIMEOUT_S: Final = 30.0
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
    """Hugging Face's hub or a mirror of it."""

    def __init__(self, address: str | None = None) -> None:
        """Remember the address; None: `HF_ENDPOINT`, else huggingface.co.

        Raises:
            InputError: not http(s).
        """
        self._address = (address or constants.ENDPOINT).rstrip("/")
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", self._address):
            raise InputError(f"{self._address!r} is no address of a hub; expected https://...")

    def files(self, repository: str, revision: str) -> tuple[str, list[RemoteFile]]:
        """Return the commit that a revision stands for, and the files there.

        Raises:
            DownloadFailed: no such repository or revision, or the hub cannot be reached.
        """
        api = HfApi(endpoint=self._address)
        try:
            found = api.model_info(
                repository, revision=revision, files_metadata=True, timeout=_TIMEOUT_S
            )
        except HfHubHTTPError as error:
            raise DownloadFailed(
                f"{repository} at {revision}: the hub answers {error.response.status_code}; check"
                " the name, the revision and whether it asks for a login (HF_TOKEN)"
            ) from None
        except (httpx2.HTTPError, OSError) as error:
            raise DownloadFailed(f"cannot reach {self._address}: {error}") from None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise DownloadFailed(f"{repository}: not the answer of a model hub") from None
        commit, entries = found.sha, found.siblings
        if not isinstance(commit, str) or not _HEX.fullmatch(commit) or entries is None:
            raise DownloadFailed(f"{repository}: not the answer of a model hub")
        return commit, [_file(entry) for entry in entries]

    def fetch(
        self,
        repository: str,
        commit: str,
        file: RemoteFile,
        output: Path,
        progress: Callable[[int], object],
    ) -> None:
        """Write a file; goes on where an earlier try stopped, and checks the hash at the end.

        Raises:
            DownloadFailed: nothing more came, or the content is not what was announced.
        """
        part = output.with_name(output.name + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > file.size:
            part.unlink()
        url = hf_hub_url(repository, file.path, revision=commit, endpoint=self._address)
        self._complete(url, part, file, progress)
        if _digest(part, file) != file.digest:
            part.unlink()
            raise DownloadFailed(f"{file.path}: its hash differs from the hub's; run it again")
        part.replace(output)

    def _complete(
        self, url: str, part: Path, file: RemoteFile, progress: Callable[[int], object]
    ) -> None:
        """Fetch what a partial file lacks; try again for as long as each try brings something."""
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        while True:
            with _PartialFile(part, file.size, progress) as out:
                begin = out.tell()
                try:
                    http_get(
                        url,
                        out,
                        resume_size=begin,
                        headers=headers,
                        expected_size=file.size,
                        tqdm_class=silent_tqdm,
                    )
                    return
                except (httpx2.HTTPError, OSError) as error:
                    if isinstance(error, OSError) and error.errno is not None:
                        raise  # the disk's, not the hub's
                    if out.tell() <= begin:
                        reason = str(error).splitlines()[0] if str(error) else "cut short"
                        raise DownloadFailed(
                            f"{file.path}: {reason}; run the command again"
                        ) from None


class _PartialFile(io.BufferedWriter):
    """A file that grows at its end, counts its bytes and takes no more than were announced."""

    def __init__(self, path: Path, size: int, progress: Callable[[int], object]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._size, self._count = size, progress
        self._end = self.tell()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Append. Raises DownloadFailed: beyond the announced size."""
        if self._end + len(data) > self._size:
            raise DownloadFailed("more came than was announced; run the command again")
        self._end += len(data)
        self._count(len(data))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        """Cut where the file stands: the hub does not resume, all comes anew."""
        end = super().truncate(size)
        self._count(end - self._end)
        self._end = end
        return end


def _file(entry: RepoSibling) -> RemoteFile:
    """Return a checked entry of the hub's list; its path must stay inside."""
    path, size = entry.rfilename, entry.size
    digest = entry.lfs.sha256 if entry.lfs else entry.blob_id
    if type(size) is not int or not isinstance(digest, str) or not isinstance(path, str):
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
