"""Step1 for generation: fused weights, one KV cache a sequence, rows at different positions.

The same model as `step_audio.engine.step1`, held by a test. On CPU the residual stream, the
norms and the attention stay float32 whatever type the weights have: they cost little there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from step_audio.core.errors import ShapeError
from step_audio.engine.alibi import alibi_bias, alibi_slopes
from step_audio.engine.int8 import FloatLinear, Int8Linear, Int8Weight, quantize_rows
from step_audio.engine.step1 import Step1Config

Precision = Literal["float32", "bfloat16", "int8"]
Weight = Tensor | Int8Weight

_CACHE_STEP = 256  # positions that a cache grows by at least


class KvCache:
    """Keys and values of one sequence, grown as needed.

    Attributes:
        length: positions filled.
        kv: (layers, 2, groups, capacity, d); [:, 0] keys, [:, 1] values.
    """

    def __init__(
        self, config: Step1Config, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> None:
        shape = (config.num_hidden_layers, 2, config.num_attention_groups, 0, config.head_dim)
        self.kv = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.kv.numel() * self.kv.element_size()

    def reserve(self, length: int) -> None:
        """Make room for `length` positions; a cache at least doubles, so copies stay rare."""
        capacity = self.kv.shape[3]
        if length <= capacity:
            return
        new = -(-max(length, 2 * capacity) // _CACHE_STEP) * _CACHE_STEP
        grown = self.kv.new_empty((*self.kv.shape[:3], new, self.kv.shape[4]))
        grown[:, :, :, : self.length] = self.kv[:, :, :, : self.length]
        self.kv = grown

    def copy(self, length: int, room: int = 0) -> KvCache:
        """Return a cache of the first `length` positions with room for `room` more."""
        twin = object.__new__(KvCache)
        twin.kv, twin.length = self.kv[:, :, :, :0], 0
        twin.reserve(length + room)
        twin.kv[:, :, :, :length] = self.kv[:, :, :, :length]
        twin.length = length
        return twin


class _DecoderLayer:
    """Weights of one layer, fused."""

    def __init__(self, weights: Mapping[str, Weight], prefix: str, decoder: Step1Decoder) -> None:
        def fused(*names: str) -> FloatLinear | Int8Linear:
            return decoder.linear([weights[f"{prefix}{name}.weight"] for name in names])

        self.qkv = fused("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.out = fused("self_attn.o_proj")
        self.gate_up = fused("mlp.gate_proj", "mlp.up_proj")
        self.down = fused("mlp.down_proj")
        self.norm1 = decoder.vector(weights[prefix + "input_layernorm.weight"])
        self.norm2 = decoder.vector(weights[prefix + "post_attention_layernorm.weight"])


class Step1Decoder:
    """A loaded model, shared by all sequences; the state of a sequence is its `KvCache`.

    Not safe for several threads at once only in what the caller does to one cache.
    """

    def __init__(
        self,
        config: Step1Config,
        weights: Mapping[str, Weight],
        precision: Precision = "float32",
        device: str = "cpu",
    ) -> None:
        """Fuse the weights.

        Args:
            weights: published names -> tensors or int8 weights, complete and of the config's
                shapes (`step_audio.engine.weights` checks).
            precision: type of the matrices; int8 needs the CPU.
        """
        if precision == "int8" and device != "cpu":
            raise ShapeError(f"int8 runs on the CPU only, not on {device}; use bfloat16")
        self.config, self.precision, self.device = config, precision, device
        half = precision == "bfloat16" and device != "cpu"
        self.dtype = torch.bfloat16 if half else torch.float32
        embedding = weights["model.embed_tokens.weight"]
        self._embedding = _floats(embedding).to(device, self.dtype)
        self._head = self.linear([weights.get("lm_head.weight", embedding)])
        self._norm = self.vector(weights["model.norm.weight"])
        self._layers = [
            _DecoderLayer(weights, f"model.layers.{i}.", self)
            for i in range(config.num_hidden_layers)
        ]
        self._slopes = alibi_slopes(config.num_attention_heads).to(device)
        # The bias of one query at position p against keys 0..p is the last p + 1 columns.
        longest = alibi_bias(self._slopes, config.max_seq_len - 1, 1)
        self._last_bias = longest.view(config.num_attention_groups, -1, config.max_seq_len).to(
            self.dtype
        )

    def linear(self, weights: Sequence[Weight]) -> FloatLinear | Int8Linear:
        """Return the product with several matrices stacked, in this decoder's precision."""
        if self.precision == "int8":
            return Int8Linear(
                [w if isinstance(w, Int8Weight) else quantize_rows(w) for w in weights]
            )
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        return FloatLinear([_floats(w).to(self.device, dtype) for w in weights])

    def vector(self, weight: Weight) -> Tensor:
        """Return the weight of a norm, in the type of the residual stream."""
        return _floats(weight).to(self.device, self.dtype)

    def new_cache(self) -> KvCache:
        """Return an empty cache for one sequence."""
        return KvCache(self.config, self.dtype, self.device)

    @torch.inference_mode()
    def extend(self, ids: Tensor, caches: Sequence[KvCache]) -> Tensor:
        """Append ids to sequences and return the normed states at the new positions.

        Args:
            ids: (B, T) int64, row b continues `caches[b]`.
            caches: B caches, each at its own length; extended by T.

        Returns:
            (B, T, H). A row does not depend on the other rows.

        Raises:
            ShapeError: rows and caches differ in number, or a sequence would get longer than
                `max_seq_len`.
        """
        B, T = ids.shape
        if len(caches) != B:
            raise ShapeError(f"{B} rows of ids for {len(caches)} caches")
        for cache in caches:
            if cache.length + T > self.config.max_seq_len:
                raise ShapeError(
                    f"{cache.length} + {T} positions exceed max_seq_len {self.config.max_seq_len}"
                )
            cache.reserve(cache.length + T)
        biases = [self._bias(cache.length, T) for cache in caches]
        x = F.embedding(ids.to(self.device), self._embedding).view(B * T, -1)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(self._rms(x, layer.norm1))
            rows = [
                self._attend(qkv[b * T : (b + 1) * T], cache, number, bias)
                for b, (cache, bias) in enumerate(zip(caches, biases, strict=True))
            ]
            x = x + layer.out(rows[0] if B == 1 else torch.cat(rows))
            gate, up = layer.gate_up(self._rms(x, layer.norm2)).chunk(2, dim=1)
            x = x + layer.down(F.silu(gate) * up)
        for cache in caches:
            cache.length += T
        return self._rms(x, self._norm).view(B, T, -1)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """(M, H) -> (M, V) float32."""
        return self._head(hidden).float()

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.config.rms_norm_eps)

    def _bias(self, first: int, count: int) -> Tensor:
        """Return the score bias of new positions, (groups, heads_per_group * T, first + T)."""
        if count == 1:
            return self._last_bias[:, :, self.config.max_seq_len - first - 1 :]
        bias = alibi_bias(self._slopes, first, count).to(self.dtype)
        return bias.view(self.config.num_attention_groups, -1, first + count)

    def _attend(self, qkv: Tensor, cache: KvCache, layer: int, bias: Tensor) -> Tensor:
        """Store the keys and values of one row and attend: (T, q+k+v) -> (T, H)."""
        groups, d = self.config.num_attention_groups, self.config.head_dim
        T, width = qkv.shape[0], self.config.hidden_size
        start, end = cache.length, cache.length + qkv.shape[0]
        kv = cache.kv[layer]
        kv[:, :, start:end] = qkv[:, width:].view(T, 2, groups, d).permute(1, 2, 0, 3)
        keys, values = kv[:, :, :end].unbind(0)
        # (T, groups, heads_per_group, d) -> query heads of a group as rows, head-major.
        q = qkv[:, :width].to(self.dtype).view(T, groups, -1, d)
        q = q.permute(1, 2, 0, 3).reshape(groups, -1, d)
        scores = torch.baddbmm(bias, q, keys.transpose(1, 2), alpha=d**-0.5)
        y = torch.bmm(scores.softmax(-1), values)
        return y.view(groups, -1, T, d).permute(2, 0, 1, 3).reshape(T, width)


def _floats(weight: Weight) -> Tensor:
    return weight.dequantized() if isinstance(weight, Int8Weight) else weight.detach()
