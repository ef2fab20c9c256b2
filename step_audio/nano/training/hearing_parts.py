"""The linguistic tokenizer taken apart for further training: encoder, centroids, phone head."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from step_audio.core.vocab import LINGUISTIC_SIZE
from step_audio.nano.training.quantizers import EmaCodebook
from step_audio.nano.training.tokenizer_export import export, export_linguistic
from step_audio.nano.training.tokenizer_nets import PhoneHead
from step_audio.nano.training.tokenizers import TokenizerSizes, TokenizerTrainer
from tokenizer.loading import (
    CENTROIDS,
    CMVN,
    CONFIG,
    ENCODER,
    ENCODER_PREFIX,
    SEMANTIC,
    build_encoder,
    own_config,
)
from tokenizer.sanm import SanmConfig, SanmEncoder
from tokenizer.weight_files import read_centroids, read_cmvn, read_tensors

CHECKPOINT = "checkpoint.pt"
_STILL = (CENTROIDS, CMVN, SEMANTIC)


@dataclass(frozen=True, slots=True)
class HearingParts:
    """What hearing learns with.

    Attributes:
        config: sizes of the encoder.
        encoder: frames at 16.7 Hz.
        codebook: 1024 centroids.
        phones: reads phones off quantised frames.
        cmvn: shift and scale of the features, 560 numbers each.
        untaught: the phone head is new; weights that serve have none.
        source: the folder it came from.
        trained: the whole trainer where the folder was a training run's.
    """

    config: SanmConfig
    encoder: SanmEncoder
    codebook: EmaCodebook
    phones: PhoneHead
    cmvn: tuple[list[float], list[float]]
    untaught: bool
    source: Path
    trained: TokenizerTrainer | None = None

    def export(self, out: Path) -> None:
        """Write the tokenizer folder with the encoder as it is now; the rest is unchanged."""
        if self.trained is not None:
            export(self.trained, self.cmvn, out)
            return
        export_linguistic(self.config, self.encoder, out)
        for name in _STILL:
            shutil.copyfile(self.source / name, out / name)


def read_parts(folder: Path, phones: int, sizes: TokenizerSizes) -> HearingParts:
    """Return the parts of a run of `step_audio.nano.training.tokenizers`, or of weights that serve.

    Args:
        folder: of the run, or `tokenizer` in packed weights.
        phones: classes of the phone head.
        sizes: of a run; weights tell their own.
    """
    if not (folder / CHECKPOINT).exists():
        return _of_weights(folder, phones)
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    trained = TokenizerTrainer(sizes, phones)
    trained.load_state_dict(state["modules"]["trainer"])
    cmvn = state["extra"]["cmvn"]
    return HearingParts(
        trained.config,
        trained.encoder,
        trained.codebook,
        trained.phones,
        cmvn,
        False,
        folder,
        trained,
    )


def _of_weights(folder: Path, phones: int) -> HearingParts:
    config = own_config(folder / CONFIG)
    named = read_tensors(folder / ENCODER)
    tensors = {name.removeprefix(ENCODER_PREFIX): tensor for name, tensor in named.items()}
    encoder = build_encoder(config, tensors, folder / ENCODER)
    codebook = EmaCodebook(LINGUISTIC_SIZE, config.output_size)
    centroids = read_centroids(folder / CENTROIDS, (LINGUISTIC_SIZE, config.output_size))
    codebook.table.copy_(torch.tensor(centroids))
    codebook.started.fill_(True)
    head = PhoneHead(config.output_size, phones)
    cmvn = read_cmvn(folder / CMVN)
    rows = cmvn.shift.tolist(), cmvn.scale.tolist()
    return HearingParts(config, encoder, codebook, head, rows, True, folder)
