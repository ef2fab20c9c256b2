"""A profile's weights from a hub: planned, checked for room, resumed, hashed, recorded.

Which commit was taken stands in `sources.json` beside the weights; later runs take the same one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from step_audio.core.errors import InputError, WeightsError
from step_audio.core.json_files import read_object
from step_audio.core.weights import record
from step_audio.published.hub import Hub, RemoteFile

LOCK: Final = "sources.json"
NEWEST: Final = "main"
_VOCODER: Final = ("flow.pt", "hift.pt", "cosyvoice.yaml", "campplus.onnx")
_SPARE: Final = 1.01


@dataclass(frozen=True, slots=True)
class Source:
    """A repository and the folder below the weights that its language model or graphs go to.

    Attributes:
        vocoder: where the flow and waveform models in its sub-folders go; None: nowhere.
        nested: keep files in other sub-folders.
    """

    repository: str
    folder: str
    vocoder: str | None = None
    nested: bool = False

    def place(self, path: str) -> str | None:
        """Return where a file goes below the weights, None when it is not needed."""
        parts = PurePosixPath(path).parts
        name = parts[-1]
        if name.startswith(".") or name.endswith((".so", ".py", ".gif", ".png")):
            return None
        if len(parts) == 1 or self.nested:
            return f"{self.folder}/{path}"
        if self.vocoder and name in _VOCODER and "music" not in parts[0].lower():
            return f"{self.vocoder}/{name}"
        return None


_EAR: Final = Source("stepfun-ai/Step-Audio-Tokenizer", "tokenizer", nested=True)
_TTS: Final = "stepfun-ai/Step-Audio-TTS-3B"
SOURCES: Final[dict[str, tuple[Source, ...]]] = {
    "tts-3b": (Source(_TTS, "lm", "vocoder"), _EAR),
    "chat-130b": (
        Source("stepfun-ai/Step-Audio-Chat", "lm"),
        Source(_TTS, "speech_lm", "vocoder"),
        _EAR,
    ),
    "aqaa-130b": (Source("stepfun-ai/Step-Audio-AQAA", "lm", "vocoder"), _EAR),
}


@dataclass(frozen=True, slots=True)
class RequestedFile:
    """One file to fetch."""

    repository: str
    commit: str
    remote: RemoteFile
    output: str


def plan_download(
    hub: Hub, sources: tuple[Source, ...], folder: Path, revisions: Mapping[str, str]
) -> list[RequestedFile]:
    """Return every file of the sources and pin their commits in the folder.

    Args:
        revisions: repository -> commit, tag or branch; else what was pinned before, else the
            newest.

    Raises:
        DownloadFailed: the hub lacks one. InputError: two files for one place.
    """
    pinned = _pinned(folder)
    wanted: dict[str, RequestedFile] = {}
    commits: dict[str, str] = {}
    for source in sources:
        repository = source.repository
        revision = revisions.get(repository) or pinned.get(repository) or NEWEST
        commit, files = hub.files(repository, revision)
        commits[repository] = commit
        for file in files:
            output = source.place(file.path)
            if output is None:
                continue
            if output in wanted:
                raise InputError(
                    f"{file.path} and {wanted[output].remote.path} both go to {output}"
                )
            wanted[output] = RequestedFile(repository, commit, file, output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK).write_text(json.dumps(commits, indent=1) + "\n", encoding="utf-8")
    return list(wanted.values())


def download(
    hub: Hub, wanted: list[RequestedFile], folder: Path, progress: Callable[[int], object]
) -> None:
    """Fetch what is not there yet, smallest first, and write the manifest.

    Args:
        progress: told the bytes that came since the last call; negative when some come anew.

    Raises:
        InputError: not enough room. DownloadFailed: run it again, it goes on there.
    """
    need = sum(w.remote.size for w in wanted) - bytes_present(wanted, folder)
    free = shutil.disk_usage(folder).free
    if need * _SPARE > free:
        raise InputError(
            f"{need / 1e9:.1f} GB are still to come and {folder} has room for {free / 1e9:.1f} GB"
        )
    left = [w for w in wanted if not _is_there(folder, w)]
    for one in sorted(left, key=lambda w: w.remote.size):
        hub.fetch(one.repository, one.commit, one.remote, folder / one.output, progress)
    # Hashes all once more, from the disk: what was written is what the manifest says.
    record(folder)


def bytes_present(wanted: Sequence[RequestedFile], folder: Path) -> int:
    """Return the bytes that earlier runs have brought, parts of files included."""
    return sum(w.remote.size if _is_there(folder, w) else _part_size(folder, w) for w in wanted)


def _is_there(folder: Path, wanted: RequestedFile) -> bool:
    path = folder / wanted.output
    return path.is_file() and path.stat().st_size == wanted.remote.size


def _part_size(folder: Path, wanted: RequestedFile) -> int:
    part = folder / f"{wanted.output}.part"
    return min(part.stat().st_size, wanted.remote.size) if part.is_file() else 0


def _pinned(folder: Path) -> dict[str, str]:
    if not (folder / LOCK).is_file():
        return {}
    pinned = read_object(folder / LOCK, WeightsError)
    return {name: commit for name, commit in pinned.items() if isinstance(commit, str)}
