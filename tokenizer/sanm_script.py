"""The chunk pass of a packed SAN-M encoder, as one TorchScript program.

Between two layers' products stand thirty small operations. The products sweep the caches, so
Python would fetch itself from memory for each of them: a third of the time of a pass. The script
computes what `SanmLayer.forward_chunk` does, to the bit, without Python.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer.sanm_layers import NORM_EPS, SanmLayer

Pass = Callable[[Tensor, Tensor, int, int], Tensor]
"""Window (B, W, 560), memory, its oldest row, rows it holds -> rows (B, W, D)."""


class _ScriptLayer(nn.Module):
    """What a `SanmLayer` has packed; see there for the shapes."""

    def __init__(self, layer: SanmLayer) -> None:
        super().__init__()
        attention, forward = layer.self_attn, layer.feed_forward
        self.projection, self.out = attention.linear_q_k_v.packed, attention.linear_out.packed
        self.memory = attention.packed
        self.widen, self.narrow = forward.w_1.packed, forward.w_2.packed
        self.norm1_weight, self.norm1_bias = layer.norm1.weight, layer.norm1.bias
        self.norm2_weight, self.norm2_bias = layer.norm2.weight, layer.norm2.bias
        self.in_size, self.size = attention.linear_q_k_v.in_features, layer.norm2.weight.shape[0]
        self.heads, self.residual = attention.heads, not layer.widens
        self.eps = NORM_EPS

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, width, size, heads = x.size(0), x.size(1), self.size, self.heads
        head = size // heads
        normed = torch.layer_norm(x, [self.in_size], self.norm1_weight, self.norm1_bias, self.eps)
        rows = torch.ops.prepacked.linear_clamp_run(normed, self.projection)
        fresh = rows[:, :, size:]
        known = fresh.contiguous()
        if past is not None:
            known = torch.cat([past, fresh], 1)
        count = known.size(1)
        # Heads apart, (B, H, rows, D / H), without a copy.
        steps = [count * 2 * size, head, 2 * size, 1]
        mixed, _ = torch._scaled_dot_product_flash_attention_for_cpu(
            rows.as_strided([batch, heads, width, head], [width * 3 * size, head, 3 * size, 1]),
            known.as_strided([batch, heads, count, head], steps),
            known.as_strided([batch, heads, count, head], steps, size),
        )
        mixed = mixed.transpose(1, 2).reshape(batch, width, size)
        attended = torch.ops.prepacked.linear_clamp_run(mixed, self.out)
        image = rows[:, :, 2 * size :].contiguous()[:, :, None].permute(0, 3, 1, 2)
        convolved = torch.ops.prepacked.conv2d_clamp_run(image, self.memory)
        attended.add_(convolved[:, :, :, 0].transpose(1, 2))
        if self.residual:
            attended.add_(x)
        normed = torch.layer_norm(attended, [size], self.norm2_weight, self.norm2_bias, self.eps)
        inner = torch.ops.prepacked.linear_clamp_run(normed, self.widen)
        shown = torch.ops.prepacked.linear_clamp_run(inner, self.narrow)
        return shown.add_(attended), fresh


class _Layers(nn.Module):
    """All layers, and what they leave in the memory."""

    def __init__(self, layers: Sequence[SanmLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_ScriptLayer(layer) for layer in layers])
        self.chunk = layers[0].chunk

    def forward(self, window: Tensor, memory: Tensor, oldest: int, known: int) -> Tensor:
        for number, layer in enumerate(self.layers):
            past: Tensor | None = None
            if known > 0:
                past = memory[number, :, :known]
            window, fresh = layer(window, past)
            memory[number, :, oldest : oldest + self.chunk] = fresh[:, : self.chunk]
        return window


def compile_pass(layers: Sequence[SanmLayer]) -> Pass:
    """Return the pass of packed layers. It has no lock: one thread at a time may run it.

    A last, shorter chunk writes rows that nobody reads: nothing follows it.
    """
    with warnings.catch_warnings():
        # torch.export, which it recommends instead, cannot hold prepacked weights.
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: Any = torch.jit.script(_Layers(layers))

    def run(window: Tensor, memory: Tensor, oldest: int, known: int) -> Tensor:
        # Its optimiser would stop the first two passes for a second, and finds nothing to win.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            out: Tensor = scripted(window, memory, oldest, known)
        return out

    return run
