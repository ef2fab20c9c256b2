"""Will it fit? Reckoned from the config before anything large is allocated.

Counts what grows with the model or the batch: parameters, gradients, Adam's two moments, gathered
layers, activations, attention scores where they are written out, logits. Fixed costs (CUDA
context, libraries) are a constant. Good to about a fifth; the check wants a tenth to spare.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from step_audio.core.errors import InputError
from step_audio.engine.step1 import Step1Config
from step_audio.engine.weights import expected_shapes
from step_audio.train.lora import Lora
from step_audio.train.scoring import LOGIT_ROWS

FIXED_BYTES: Final = 700 * 2**20
SPARE: Final = 1.1
_GB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of one process, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All together, fixed costs included."""
        return FIXED_BYTES + sum(
            (
                *(self.weights, self.gradients, self.optimizer),
                *(self.gathered, self.activations, self.logits),
            )
        )


def reckon(
    config: Step1Config,
    *,
    rows: int,
    length: int,
    workers: int = 1,
    bf16: bool = True,
    lora: Lora | None = None,
    recompute: bool = False,
    written_scores: bool = False,
) -> Need:
    """Return what one of `workers` processes needs for a micro-batch of (rows, length) ids.

    Args:
        written_scores: attention scores are written out, as on the CPU.
    """
    shapes = expected_shapes(config)
    sizes = {name: _count(shape) for name, shape in shapes.items()}
    total = sum(sizes.values())
    H, layers = config.hidden_size, config.num_hidden_layers
    trained, frozen = total, 0
    if lora is not None:
        matrices = [s for n, s in shapes.items() if n.split(".")[-2] in lora.targets]
        trained, frozen = sum(lora.rank * (s[0] + s[1]) for s in matrices), total
    width = 2 if bf16 else 4
    weights = (4 * trained + (width if lora else 4) * frozen) // workers
    largest = max(
        sum(size for name, size in sizes.items() if name.startswith("model.layers.0.")),
        sum(size for name, size in sizes.items() if ".layers." not in name),
    )
    # One group computes while the next is gathered; gradients of one wait to be reduced.
    gathered = 2 * largest * width + largest * 4 * bool(not lora) if workers > 1 else 0
    if workers == 1 and bf16:
        gathered = largest * width  # autocast's copies
    tokens = rows * length
    layer = tokens * (8 * H + 4 * config.intermediate_size) * width
    if written_scores:
        layer += 3 * rows * config.num_attention_heads * length * length * width
    kept = tokens * H * width
    activations = layers * kept + layer if recompute else layers * layer
    activations += config.num_attention_heads * length * length * width  # the bias
    logits = 3 * min(tokens, LOGIT_ROWS) * config.vocab_size * 4
    each = 4 * trained // workers
    return Need(weights, each, 2 * each, gathered, activations, logits)


def available(device: torch.device, local_workers: int = 1) -> int:
    """Return the bytes that one of the processes on this machine may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free = min(free, max(0, int(text) - used))
    return free // max(1, local_workers)


def check(need: Need, has: int, *, lora: bool, recompute: bool, workers: int) -> None:
    """Raise InputError when it will not do, saying by how much and what would help."""
    if need.total * SPARE <= has:
        return
    parts = {
        "weights": need.weights,
        "gradients": need.gradients,
        "optimizer": need.optimizer,
        "gathered layers": need.gathered,
        "activations": need.activations,
        "logits": need.logits,
    }
    detail = ", ".join(f"{name} {size / _GB:.1f}" for name, size in parts.items())
    advice = [] if lora else ["--lora 16"]
    advice += [] if recompute else ["--recompute"]
    static = need.weights + need.gradients + need.optimizer
    if static > need.activations:
        more = -(-static * workers // max(1, int(has / SPARE) - (need.total - static)))
        if 0 < more < 4096:
            advice.append(f"torchrun with {more} processes")
    else:
        advice.append("a smaller --micro-tokens or --max-length")
    raise InputError(
        f"each process needs about {need.total / _GB:.1f} GB ({detail}) and has"
        f" {has / _GB:.1f} GB; try {', or '.join(advice)}"
    )


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
