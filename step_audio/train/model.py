"""From a published folder to a model ready to train, and back: each process reads its own rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from step_audio.engine.step1 import Step1
from step_audio.train.checkpoints import Checkpoint, CheckpointWriter
from step_audio.train.lora import (
    Lora,
    adapter_start,
    add_adapters,
    is_adapter,
    published_name,
    save_adapter,
)
from step_audio.train.scoring import Scorer, checkpoint_layers
from step_audio.train.workers import TrainingProcesses, own_rows, shard, whole

_PREFIX = "lm."


def build(
    source: Checkpoint,
    workers: TrainingProcesses,
    *,
    bf16: bool,
    lora: Lora | None = None,
    recompute: bool = False,
) -> Scorer:
    """Return the model of a checkpoint, sharded over the workers, weights loaded.

    Args:
        source: where the weights come from.
        workers: who shares it.
        bf16: compute in bfloat16; trained parameters stay float32, frozen ones become bfloat16.
        lora: train adapters only.
        recompute: gradient checkpointing.
    """
    with torch.device("meta"):
        lm = Step1(source.config)
    if lora is not None:
        add_adapters(lm, lora)
        if bf16:
            for parameter in lm.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)
    # Alone, autocast computes in bfloat16; sharded layers are cast when they are gathered.
    scorer = Scorer(lm, bf16=bf16 and workers.count == 1)
    if recompute:
        checkpoint_layers(lm)
    shard(scorer, list(lm.model.layers), workers, bf16=bf16)
    scorer.to_empty(device=workers.device)
    load(scorer, source)
    return scorer


def load(scorer: Scorer, source: Checkpoint) -> None:
    """Fill every parameter from the checkpoint; adapters begin as LoRA prescribes."""
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            rows, first = own_rows(parameter)
            if is_adapter(name):
                start = adapter_start(name, tuple(parameter.shape))
                rows.copy_(start[first : first + len(rows)])
            elif len(rows):
                named = published_name(name.removeprefix(_PREFIX))
                rows.copy_(source.read(named, first, first + len(rows)))


def save(
    scorer: Scorer,
    source: Checkpoint,
    out: Path,
    workers: TrainingProcesses,
    *,
    facts: Mapping[str, Any],
    lora: Lora | None = None,
) -> None:
    """Write the trained model (or its adapters) as `source` is laid out; all workers call it."""
    if lora is not None:
        found = {n: whole(p) for n, p in scorer.named_parameters() if is_adapter(n)}
        if workers.leads:
            named = {name.removeprefix(_PREFIX): tensor for name, tensor in found.items()}
            save_adapter(out, named, lora, source.folder, facts)
        workers.wait()
        return
    parameters = {n.removeprefix(_PREFIX): p for n, p in scorer.named_parameters()}
    writer = CheckpointWriter(out, source.raw_config) if workers.leads else None
    for name in source.names:
        tensor = whole(parameters[name])
        if writer is not None:
            writer.add(name, tensor.to(source.dtype))
    if writer is not None:
        writer.close(source.folder, facts)
    workers.wait()
