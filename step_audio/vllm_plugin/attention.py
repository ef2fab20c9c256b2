"""Attention with score bias -slope * sqrt(distance) on vLLM's CPU platform. For tests only.

It reads vLLM's paged KV cache with plain PyTorch. On GPUs vLLM's own Triton backend does it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend, CPUAttentionBackendImpl


class AlibiSqrtCpuBackend(CPUAttentionBackend):
    """vLLM's CPU backend; layers that ask for the square root get `AlibiSqrtCpuAttention`."""

    @classmethod
    def supports_alibi_sqrt(cls) -> bool:
        """Say so to the layer, which refuses other backends."""
        return True

    @staticmethod
    def get_impl_cls() -> type[AlibiSqrtCpuAttention]:
        """Return the implementation."""
        return AlibiSqrtCpuAttention


class AlibiSqrtCpuAttention(CPUAttentionBackendImpl):
    """Attention of one layer; the cache is (blocks, kv_heads, block_size, 2 * d), K before V."""

    def __init__(self, *args: Any, use_alibi_sqrt: bool = False, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.use_alibi_sqrt = use_alibi_sqrt

    def do_kv_cache_update(
        self, layer: Any, key: Tensor, value: Tensor, kv_cache: Tensor, slot_mapping: Tensor
    ) -> None:
        """Write (N, kv_heads, d) keys and values into their slots; negative slots are padding."""
        if not self.use_alibi_sqrt:
            super().do_kv_cache_update(layer, key, value, kv_cache, slot_mapping)
            return
        used = slot_mapping >= 0
        slots, size = slot_mapping[used], kv_cache.shape[2]
        rows = torch.cat([key[: len(used)][used], value[: len(used)][used]], dim=-1)
        kv_cache[slots // size, :, slots % size] = rows

    def forward(  # noqa: PLR0917 - vLLM's signature
        self,
        layer: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kv_cache: Tensor,
        attn_metadata: Any,
        output: Tensor,
        *scales: Any,
        **named: Any,
    ) -> Tensor:
        """(N, heads, d) queries of all sequences -> `output`, filled; no metadata: a warm-up."""
        if not self.use_alibi_sqrt:
            filled: Tensor = super().forward(
                layer, query, key, value, kv_cache, attn_metadata, output, *scales, **named
            )
            return filled
        if attn_metadata is None:
            return output
        starts = attn_metadata.query_start_loc.tolist()
        lengths = attn_metadata.seq_lens.tolist()
        for row, length in enumerate(lengths):
            first, last = starts[row], starts[row + 1]
            if last > first:
                blocks = attn_metadata.block_table[row]
                out = self._attend(query[first:last], kv_cache, blocks, length)
                output[first:last] = out.view_as(output[first:last])
        return output

    def _attend(self, query: Tensor, kv_cache: Tensor, blocks: Tensor, length: int) -> Tensor:
        """(T, heads, d), the last T of `length` positions of one sequence -> (T, heads, d)."""
        T, heads, d = query.shape
        groups, size = kv_cache.shape[1], kv_cache.shape[2]
        used = blocks[: -(-length // size)].long()
        kv = kv_cache[used].transpose(0, 1).reshape(groups, -1, 2 * d)[:, :length]
        behind = torch.arange(length - T, length)[:, None] - torch.arange(length)
        bias = -self.alibi_slopes[:, None, None] * behind.clamp(min=0).sqrt()
        bias = bias.masked_fill(behind < 0, -torch.inf).to(query.dtype)
        # The query heads of a group become extra query rows: keys are not copied.
        rows = query.transpose(0, 1).reshape(groups, -1, d)
        out = F.scaled_dot_product_attention(
            rows,
            kv[..., :d],
            kv[..., d:],
            attn_mask=bias.reshape(groups, -1, length),
            scale=self.scale,
        )
        return out.reshape(heads, T, d).transpose(0, 1)
