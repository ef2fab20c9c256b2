"""The files of a set as they were downloaded: in folders, in archives, in archives of archives.

A member of an archive counts as a file beside the archive. Tars and zips are read in place.
Compressed tars cannot be: what is wanted of them is unpacked once into a temporary folder, under
names of ours, so that no member can choose where it is written.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final

from step_audio.core.containers import SOUND_ENDINGS
from step_audio.core.errors import InputError
from step_audio.eval.sets.items import RecordingMissing, Sound

_TABLES: Final = (".parquet", ".csv", ".jsonl", ".json", ".txt", ".lst", ".scp")
_TARS: Final = (".tar", ".tar.gz", ".tgz")
_MAX_FILE: Final = 1 << 30
_DEEPEST: Final = 2
"""Archives within archives: AISHELL-1 has one of each speaker in that of the set."""

Read = Callable[[], bytes]


class SetFiles:
    """All files of a set by their paths, `/` between the parts. `close` it afterwards.

    Args:
        folder: where the set was downloaded to.
        opened: whether archives are looked into; without, they are only named.

    Raises:
        InputError: no such folder, or an archive that cannot be read.
    """

    def __init__(self, folder: Path, *, opened: bool = True) -> None:
        if not folder.is_dir():
            raise InputError(f"no folder {folder}; download the set and give its folder")
        self.folder = folder
        self._read: dict[str, Read] = {}
        self._paths: dict[str, Path] = {}
        self._named: dict[str, list[str]] = {}
        self._open: list[IO[bytes] | tarfile.TarFile | zipfile.ZipFile] = []
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self.archives: list[str] = []
        archives = []
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or any(part.startswith(".") for part in path.parts[-2:]):
                continue
            if _is_archive(name):
                archives.append((name, path))
                self.archives.append(name)
            else:
                self._add(name, path.read_bytes)
                self._paths[name] = path
        for name, path in archives if opened else ():
            beside = PurePosixPath(name).parent
            try:
                self._archive(beside, name, path, 0)
            except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
                self.close()
                raise InputError(f"{path} cannot be read: {error}; fetch it again") from None

    def __enter__(self) -> SetFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the archives; nothing is read afterwards."""
        for file in self._open:
            file.close()
        self._open.clear()
        if self._temporary is not None:
            self._temporary.cleanup()

    def names(self, *endings: str) -> list[str]:
        """Return the paths that end so, in order."""
        return sorted(name for name in self._read if name.endswith(endings))

    def path(self, name: str) -> Path | None:
        """Return where a file lies by itself; None: in an archive."""
        return self._paths.get(name)

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises InputError: there is none, or it cannot be read."""
        if name not in self._read:
            raise InputError(f"{self.folder} has no file {name}")
        try:
            return self._read[name]()
        except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
            raise InputError(f"{name} cannot be read: {error}; fetch it again") from None

    def text(self, name: str) -> str:
        """Return a file as text. Raises InputError: it is none."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{name} is not text in UTF-8") from None

    def sound(self, name: str, beside: str = "") -> Sound:
        """Return a recording by the name that a table gives; that it is missing shows when it is
        read.

        Args:
            name: a path, of which as many of the last parts as possible have to fit.
            beside: the file that names it.
        """
        return Sound(name, partial(self._sound, name, beside))

    def _sound(self, name: str, beside: str) -> bytes:
        found = self._find(name, beside)
        if found is None:
            raise RecordingMissing(name)
        return self.read(found)

    def _find(self, name: str, beside: str) -> str | None:
        wanted = PurePosixPath(name.replace("\\", "/"))
        near = (PurePosixPath(beside).parent / wanted).as_posix()
        if near in self._read:
            return near
        near_parts = PurePosixPath(near).parts
        fits = {path: _common(path, near_parts) for path in self._named.get(wanted.name, ())}
        best = [path for path, common in fits.items() if common == max(fits.values())]
        if len(best) > 1 and len({self.read(path) for path in best}) > 1:
            raise RecordingMissing(name, best)
        return best[0] if best else None

    def _add(self, name: str, read: Read) -> None:
        if name not in self._read:
            self._read[name] = read
            self._named.setdefault(PurePosixPath(name).name, []).append(name)

    def _archive(self, beside: PurePosixPath, name: str, path: Path, depth: int) -> None:
        if name.endswith(".zip"):
            archive = zipfile.ZipFile(path)
            self._open.append(archive)
            for info in archive.infolist():
                if _is_wanted(info.filename) and info.file_size <= _MAX_FILE:
                    self._add(str(beside / info.filename), partial(self._zipped, archive, info))
            return
        if name.endswith(".tar"):
            tar = tarfile.open(path)  # noqa: SIM115 - read from until the end
            self._open.append(tar)
            for member in tar:
                if member.isfile() and _is_wanted(member.name) and member.size <= _MAX_FILE:
                    self._add(str(beside / member.name), partial(self._tarred, tar, member))
            return
        with tarfile.open(path, "r|*") as stream:
            for member in stream:
                nested = depth < _DEEPEST and _is_archive(member.name)
                if not member.isfile() or member.size > _MAX_FILE:
                    continue
                inner = beside / member.name
                if nested or (_is_wanted(member.name) and str(inner) not in self._read):
                    copy = self._unpack(stream, member)
                    if nested:
                        self._archive(inner.parent, member.name, copy, depth + 1)
                        copy.unlink(missing_ok=not member.name.endswith(".tar"))
                    else:
                        self._add(str(inner), copy.read_bytes)

    def _unpack(self, stream: tarfile.TarFile, member: tarfile.TarInfo) -> Path:
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="eval-set-")
        with tempfile.NamedTemporaryFile(dir=self._temporary.name, delete=False) as out:
            file = stream.extractfile(member)
            if file is not None:
                for block in iter(partial(file.read, 1 << 20), b""):
                    out.write(block)
        return Path(out.name)

    def _tarred(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        with self._lock:
            file = tar.extractfile(member)
            return b"" if file is None else file.read()

    def _zipped(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
        with self._lock:
            return archive.read(info)


def _is_archive(name: str) -> bool:
    return name.lower().endswith((*_TARS, ".zip"))


def _is_wanted(name: str) -> bool:
    return name.lower().endswith((*_TABLES, *SOUND_ENDINGS))


def _common(path: str, wanted: tuple[str, ...]) -> int:
    """Return how many of the last parts of two paths are the same."""
    count = 0
    for one, other in zip(reversed(PurePosixPath(path).parts), reversed(wanted), strict=False):
        if one != other:
            break
        count += 1
    return count


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers from 1."""
    for at, line in enumerate(io.StringIO(text), 1):
        if line.strip():
            yield at, line.strip("\r\n")
