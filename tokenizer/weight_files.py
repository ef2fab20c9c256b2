"""Tensors, centroids and CMVN from files, none of which is trusted.

Nothing here runs code from a file: pickles are read with torch's restricted loader, arrays
without pickling.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from step_audio.core.errors import ShapeError, WeightsError
from tokenizer.features import Cmvn

MAX_TEXT_BYTES: Final = 1 << 20


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file or of a published `.pt` state dict.

    Raises:
        WeightsError: missing, truncated, or not a plain mapping of names to tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; fetch or train the weights first")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Mapped, a file's unused parts cost no memory; only zip files can be.
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (
        OSError,
        RuntimeError,
        ValueError,
        SafetensorError,
        pickle.UnpicklingError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be read as weights: {reason}") from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in loaded.items()
    ):
        raise WeightsError(f"{path} is not a state dict of tensors")
    return dict(loaded)


def read_centroids(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a codebook. Raises WeightsError: not finite floats of `shape`."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise WeightsError(f"{path} is not an array: {error}") from None
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != "f":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise WeightsError(f"{path} is {found}, expected floats of shape {shape}")
    centroids = np.array(array, dtype=np.float32)
    if not np.isfinite(centroids).all():
        raise WeightsError(f"{path} holds values that are not finite")
    return centroids


def read_cmvn(path: Path) -> Cmvn:
    """Return the CMVN of an `am.mvn`, Kaldi's text form of an nnet.

    Raises:
        WeightsError: missing, or not 560 finite numbers after `<AddShift>` and `<Rescale>` each.
    """
    lines = read_text(path).splitlines()
    rows = {}
    for tag in ("<AddShift>", "<Rescale>"):
        at = next((i for i, line in enumerate(lines) if line.startswith(tag)), len(lines))
        # `<LearnRateCoef> 0 [ numbers ]` stands in the line after the tag.
        numbers = lines[at + 1].split()[3:-1] if at + 1 < len(lines) else []
        try:
            rows[tag] = np.array(numbers, dtype=np.float32)
            finite = bool(np.isfinite(rows[tag]).all())
        except ValueError:
            finite = False
        if not finite:
            raise WeightsError(f"{path}: not all is numbers after {tag}")
    try:
        return Cmvn(rows["<AddShift>"], rows["<Rescale>"])
    except ShapeError as error:
        raise WeightsError(f"{path}: {error}") from None


def read_text(path: Path) -> str:
    """Return a text file. Raises WeightsError: missing, larger than 1 MiB, or not UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise WeightsError(f"{path} is larger than {MAX_TEXT_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WeightsError(f"{path} is not text") from None
