"""A folder of weights to a tokenizer, every file, name and shape checked first.

Two layouts hold the same things. The project's own:

    linguistic.safetensors, linguistic.json    encoder (`encoder.*`) and its `SanmConfig`
    am.mvn  linguistic_tokenizer.npy           CMVN (Kaldi text), centroids (1024, D)
    speech_tokenizer_v1.onnx                   semantic graph
    tokenizer.json                             optional: how streams are cut, `StreamFacts`

and the published one, where a folder that ends in `-online` holds `model.pt`, `config.yaml` and
`am.mvn`. `convert` writes the first from the second.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from step_audio.core.errors import ShapeError, WeightsError
from step_audio.core.json_files import read_object
from step_audio.core.vocab import LINGUISTIC_SIZE
from tokenizer.codebook import Codebook
from tokenizer.linguistic import LinguisticTokenizer
from tokenizer.preprocess import STREAM_FLOOR
from tokenizer.published import encoder_config, find_recogniser
from tokenizer.sanm import SanmConfig, SanmEncoder
from tokenizer.semantic import SemanticTokenizer, SemanticWindows
from tokenizer.stream import DualCodebookTokenizer
from tokenizer.weight_files import read_centroids, read_cmvn, read_tensors

ENCODER: Final = "linguistic.safetensors"
CONFIG: Final = "linguistic.json"
CMVN: Final = "am.mvn"
CENTROIDS: Final = "linguistic_tokenizer.npy"
SEMANTIC: Final = "speech_tokenizer_v1.onnx"
STREAM: Final = "tokenizer.json"

ENCODER_PREFIX: Final = "encoder."
_MAX_BLOCKS, _MAX_SIZE = 256, 16384


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the LM was trained on besides the weights; see `SemanticWindows` and `CausalLevel`."""

    semantic_new: int = 6
    semantic_left: int = 28
    semantic_right: int = 6
    level_floor: float = STREAM_FLOOR
    dither: float = 0.0


def load_tokenizer(folder: Path, *, device: str = "cpu", threads: int = 1) -> DualCodebookTokenizer:
    """Return the tokenizer in a folder of either layout.

    Args:
        folder: see above.
        device: where the linguistic encoder runs.
        threads: of the semantic graph, which runs on the CPU.

    Raises:
        WeightsError: naming the file and the first thing in it that does not fit.
    """
    facts = _read_facts(folder / STREAM)
    try:
        windows = SemanticWindows(facts.semantic_new, facts.semantic_left, facts.semantic_right)
    except ShapeError as error:
        raise WeightsError(f"{folder / STREAM}: {error}") from None
    linguistic = load_linguistic(folder, device=device, dither=facts.dither)
    semantic = SemanticTokenizer(folder / SEMANTIC, windows, threads)
    return DualCodebookTokenizer(linguistic, semantic, facts.level_floor)


def load_linguistic(
    folder: Path, *, device: str = "cpu", dither: float = 0.0
) -> LinguisticTokenizer:
    """Return the linguistic half of `load_tokenizer`; raises the same."""
    source = _sources(folder)
    encoder = build_encoder(source.config, source.tensors, source.encoder_path)
    centroids = read_centroids(folder / CENTROIDS, (LINGUISTIC_SIZE, source.config.output_size))
    encoder.requires_grad_(requires_grad=False).eval().to(device)
    encoder.pack()
    cmvn = read_cmvn(source.cmvn_path)
    return LinguisticTokenizer(encoder, Codebook(centroids), cmvn, dither)


def build_encoder(config: SanmConfig, tensors: dict[str, Tensor], path: Path) -> SanmEncoder:
    """Return an encoder that holds `tensors` as float32.

    Raises:
        WeightsError: naming `path` and the first name that is missing, unknown, of another shape,
            or not finite.
    """
    with torch.device("meta"):  # costs no memory, whatever the config claims
        encoder = SanmEncoder(config)
    expected = encoder.state_dict()
    for name, wanted in expected.items():
        found = tensors.get(name)
        if found is None:
            raise WeightsError(f"{path}: {ENCODER_PREFIX}{name} is missing")
        if found.shape != wanted.shape:
            raise WeightsError(
                f"{path}: {ENCODER_PREFIX}{name} has shape {tuple(found.shape)}, "
                f"expected {tuple(wanted.shape)}"
            )
        if not found.is_floating_point() or not bool(torch.isfinite(found).all()):
            raise WeightsError(
                f"{path}: {ENCODER_PREFIX}{name} holds values that are not finite floats"
            )
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise WeightsError(f"{path}: {ENCODER_PREFIX}{unknown[0]} is not part of this model")
    encoder.load_state_dict({name: tensors[name].float() for name in expected}, assign=True)
    return encoder


def convert(published: Path, out: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the project's layout from the published one.

    Args:
        published: folder as downloaded.
        out: folder to write; made where missing.
        dtype: of the stored encoder.

    Raises:
        WeightsError: the published folder does not fit, and nothing is written; or the disk is
            full.
        OSError: `out` cannot be made or written.
    """
    source = _sources(published)
    build_encoder(source.config, source.tensors, source.encoder_path)
    read_cmvn(source.cmvn_path)
    read_centroids(published / CENTROIDS, (LINGUISTIC_SIZE, source.config.output_size))
    if not (published / SEMANTIC).is_file():
        raise WeightsError(f"{published / SEMANTIC} does not exist; complete the download")
    out.mkdir(parents=True, exist_ok=True)
    state = {ENCODER_PREFIX + name: t.to(dtype).contiguous() for name, t in source.tensors.items()}
    try:
        save_file(state, out / ENCODER)
    except SafetensorError as error:  # which hides the system's own
        raise WeightsError(f"cannot write {out / ENCODER}: {error}") from None
    (out / CONFIG).write_text(json.dumps(asdict(source.config), indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(source.cmvn_path, out / CMVN)
    for name in (CENTROIDS, SEMANTIC):
        shutil.copyfile(published / name, out / name)


@dataclass(frozen=True)
class _Sources:
    """Where a layout keeps the encoder; tensor names come without prefix."""

    config: SanmConfig
    tensors: dict[str, Tensor]
    encoder_path: Path
    cmvn_path: Path


def _sources(folder: Path) -> _Sources:
    if not folder.is_dir():
        raise WeightsError(f"no weights at {folder}; fetch or train them first")
    if (folder / ENCODER).is_file():
        path, config = folder / ENCODER, own_config(folder / CONFIG)
        cmvn = folder / CMVN
    else:
        recogniser = find_recogniser(folder)
        path, config = recogniser / "model.pt", encoder_config(recogniser / "config.yaml")
        cmvn = recogniser / CMVN
    if config.num_blocks > _MAX_BLOCKS or max(config.output_size, config.linear_units) > _MAX_SIZE:
        raise WeightsError(f"the config beside {path} describes no model of this kind: {config}")
    # The published file also holds a decoder and a predictor, which nothing here uses.
    tensors = {
        name.removeprefix(ENCODER_PREFIX): tensor
        for name, tensor in read_tensors(path).items()
        if name.startswith(ENCODER_PREFIX)
    }
    return _Sources(config, tensors, path, cmvn)


Facts = TypeVar("Facts", SanmConfig, StreamFacts)


def own_config(path: Path) -> SanmConfig:
    """Return the encoder's sizes of the project's own layout. Raises WeightsError."""
    return _checked(SanmConfig, read_object(path, WeightsError), path)


def _read_facts(path: Path) -> StreamFacts:
    if not path.is_file():
        return StreamFacts()
    raw = read_object(path, WeightsError)
    facts = _checked(StreamFacts, raw, path)
    if not 0 < facts.level_floor <= 1 or not 0 <= facts.dither <= 100:
        raise WeightsError(f"{path}: level_floor must be in (0, 1], dither in 0..100")
    return facts


def _checked(kind: type[Facts], raw: dict[str, Any], path: Path) -> Facts:
    """Return `kind(**raw)`; a key it does not know, or a value of another type, is refused."""
    known = {field.name: field.type for field in fields(kind)}
    for key, value in raw.items():
        allowed = (int,) if known.get(key) == "int" else (int, float)
        if key not in known or type(value) not in allowed:
            raise WeightsError(f"{path}: {key} is {value!r}; known are {', '.join(known)}")
    try:
        return kind(**raw)
    except (TypeError, ShapeError) as error:
        raise WeightsError(f"{path}: {error}") from None
