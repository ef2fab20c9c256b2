"""Write trained codebooks as a tokenizer folder that serving loads like any other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from step_audio.nano.training.quantizers import EmaCodebook
from step_audio.nano.training.tokenizer_nets import SemanticGraph, SemanticNet
from tokenizer.sanm import SanmConfig, SanmEncoder


class TrainedTokenizers(Protocol):
    """What is exported of a trainer."""

    config: SanmConfig
    encoder: SanmEncoder
    codebook: EmaCodebook
    semantic: SemanticNet


def export(trained: TrainedTokenizers, cmvn: tuple[list[float], list[float]], folder: Path) -> None:
    """Write encoder, centroids, CMVN and the semantic graph into `folder`."""
    export_linguistic(trained.config, trained.encoder, folder)
    table = trained.codebook.table.cpu().numpy().astype(np.float32)
    np.save(folder / "linguistic_tokenizer.npy", table)
    (folder / "am.mvn").write_text(_kaldi_cmvn(*cmvn))
    export_semantic(trained.semantic, folder / "speech_tokenizer_v1.onnx")


def export_linguistic(config: SanmConfig, encoder: SanmEncoder, folder: Path) -> None:
    """Write the encoder and its sizes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"encoder.{k}": v.contiguous() for k, v in encoder.state_dict().items()}
    save_file(state, str(folder / "linguistic.safetensors"))
    (folder / "linguistic.json").write_text(json.dumps(asdict(config), indent=2) + "\n")


def export_semantic(net: SemanticNet, path: Path) -> None:
    """Write the semantic graph with the published inputs and output."""
    graph = SemanticGraph(net).eval().cpu()
    example: tuple[Tensor, ...] = (torch.zeros(1, 128, 96), torch.tensor([96], dtype=torch.int32))
    torch.onnx.export(
        graph,
        example,
        str(path),
        input_names=["feats", "feats_length"],
        output_names=["indices"],
        dynamic_axes={"feats": {2: "frames"}, "indices": {1: "tokens"}},
        opset_version=17,
        dynamo=False,
    )


def _kaldi_cmvn(shift: list[float], scale: list[float]) -> str:
    width = len(shift)

    def row(values: list[float]) -> str:
        return f"<LearnRateCoef> 0 [ {' '.join(f'{v:.7g}' for v in values)} ]"

    return (
        f"<Nnet>\n<Splice> {width} {width}\n[ 0 ]\n"
        f"<AddShift> {width} {width}\n{row(shift)}\n"
        f"<Rescale> {width} {width}\n{row(scale)}\n</Nnet>\n"
    )
