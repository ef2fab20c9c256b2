"""A profile's weights from a hub: planned, checked for room, resumed, hashed, recorded.

Where a checkpoint holds more than the language model, that is written once more as a folder of its
own, `language_model/`: engines take nothing else. Trained facts that the files do not say are
written to `facts.json`.

Which commit was taken stands in `sources.json` beside the weights; later runs take the same one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from step_audio.core.errors import InputError, WeightsError
from step_audio.core.json_files import read_object
from step_audio.core.vocab import Vocab
from step_audio.core.weights import FACTS, PUBLISHED, record, write_facts
from step_audio.published.extract import extract
from step_audio.published.headers import INDEX_FILE
from step_audio.published.hub import Hub, RemoteFile
from step_audio.published.mapping import MODEL_TYPES

LOCK: Final = "sources.json"
NEWEST: Final = "main"
_VOCODER: Final = ("flow.pt", "hift.pt", "cosyvoice.yaml", "campplus.onnx")
_SPARE: Final = 1.01


@dataclass(frozen=True, slots=True)
class Source:
    """A repository and the folder below the weights that its language model or graphs go to.

    Attributes:
        vocoder: where the flow and waveform models in its sub-folders go; None: nowhere. Those for
            singing go beside it, into a folder that ends in `_music`.
        nested: keep files in other sub-folders.
        spare: only its vocoders are taken, and only where no source before it has any.
    """

    repository: str
    folder: str
    vocoder: str | None = None
    nested: bool = False
    spare: bool = False

    def place(self, path: str) -> str | None:
        """Return where a file goes below the weights, None when it is not needed."""
        parts = PurePosixPath(path).parts
        name = parts[-1]
        if name.startswith(".") or name.endswith((".so", ".py", ".gif", ".png")):
            return None
        if self.nested or (len(parts) == 1 and not self.spare):
            return f"{self.folder}/{path}"
        if self.vocoder and len(parts) == 2 and name in _VOCODER:
            return f"{self.vocoder}{'_music' if 'music' in parts[0].lower() else ''}/{name}"
        return None


_EAR: Final = Source("stepfun-ai/Step-Audio-Tokenizer", "tokenizer", nested=True)
_TTS: Final = "stepfun-ai/Step-Audio-TTS-3B"
SOURCES: Final[dict[str, tuple[Source, ...]]] = {
    "tts-3b": (Source(_TTS, "lm", "vocoder"), _EAR),
    "one-gpu": (Source(_TTS, "lm", "vocoder"), _EAR),
    "chat-130b": (
        Source("stepfun-ai/Step-Audio-Chat", "lm"),
        Source(_TTS, "speech_lm", "vocoder"),
        _EAR,
    ),
    "aqaa-130b": (
        Source("stepfun-ai/Step-Audio-AQAA", "lm", "vocoder"),
        Source(_TTS, "lm", "vocoder", spare=True),
        _EAR,
    ),
}
_FACTS: Final = {"aqaa-130b": replace(PUBLISHED, vocab=Vocab(eos=2))}
"""Of published models that differ from the usual: StepFun's own settings for Step-Audio-AQAA's
type of model end answers at two ids."""
LANGUAGE_MODEL: Final = "language_model"


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
        if source.spare and any(name.startswith(f"{source.vocoder}/") for name in wanted):
            continue
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
    _take_language_model_out(folder)
    # Hashes all once more, from the disk: what was written is what the manifest says.
    record(folder)


def write_published_facts(profile: str, folder: Path) -> None:
    """Write `facts.json` where there is none yet: it may hold what was measured since."""
    if not (folder / FACTS).is_file():
        write_facts(folder, _FACTS.get(profile, PUBLISHED))


def _take_language_model_out(folder: Path) -> None:
    """Write the LM of a checkpoint that holds more as a folder of its own; once.

    Raises:
        WeightsError: it cannot be placed. InputError: not enough room.
    """
    source, output = folder / "lm", folder / LANGUAGE_MODEL
    if not (source / "config.json").is_file() or (output / INDEX_FILE).is_file():
        return
    kind = read_object(source / "config.json", WeightsError).get("model_type")
    if kind not in MODEL_TYPES or kind == MODEL_TYPES[0]:
        return
    size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    free = shutil.disk_usage(folder).free
    if size * _SPARE > free:
        raise InputError(
            f"the language model is written once more without the rest of its checkpoint: "
            f"{size / 1e9:.1f} GB, and {folder} has room for {free / 1e9:.1f} GB"
        )
    part = output.with_name(f"{LANGUAGE_MODEL}.part")
    shutil.rmtree(part, ignore_errors=True)
    extract(source, part)
    part.rename(output)


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
