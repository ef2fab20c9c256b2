"""Step1: the decoder-only LM of Step-Audio, for training and full-sequence evaluation.

Like Llama (RMSNorm, SwiGLU, grouped-query heads, no biases), but with no rotary embedding:
score(i, j) = q_i . k_j / sqrt(d) - slope[h] * sqrt(i - j). State-dict names are those of the
published checkpoints. Generation with a KV cache lives in `step_audio.engine.decoder`.

Source: Step-Audio report, arXiv:2502.11946, and the published `config.json`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from step_audio.core.errors import ShapeError, WeightsError
from step_audio.engine.alibi import alibi_bias, alibi_slopes, attend

_BIAS_CACHE_ENTRIES = 4
_CPU_QUERY_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Step1Config:
    """Sizes of a checkpoint; names are the keys of the published `config.json`."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_attention_groups: int
    num_hidden_layers: int
    vocab_size: int
    max_seq_len: int = 4096
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_attention_groups",
            "num_hidden_layers",
            "vocab_size",
            "max_seq_len",
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise WeightsError(f"config: {name} is {value!r}, expected a positive integer")
        eps = self.rms_norm_eps
        if not isinstance(eps, int | float) or not 0 < eps < 1:
            raise WeightsError(f"config: rms_norm_eps is {eps!r}, expected a small number")
        if self.hidden_size % self.num_attention_heads:
            raise WeightsError(
                f"config: hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.num_attention_heads % self.num_attention_groups:
            raise WeightsError(
                f"config: num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_attention_groups {self.num_attention_groups}"
            )

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Step1Config:
        """Return the config of a parsed `config.json`; unknown keys are ignored.

        Raises:
            WeightsError: a size is missing or impossible.
        """
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        try:
            return cls(**known)
        except TypeError as error:
            raise WeightsError(f"config: {str(error).partition('__init__() ')[2]}") from None

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Causal grouped-query attention whose only notion of position is the score bias."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.config = config
        width, kv_width = config.hidden_size, config.num_attention_groups * config.head_dim
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, kv_width, bias=False)
        self.v_proj = nn.Linear(width, kv_width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, biases: Sequence[Tensor]) -> Tensor:
        """Attend within each row: (B, T, H) -> (B, T, H); `biases` from `Step1.biases`."""
        B, T, _ = x.shape
        groups, d = self.config.num_attention_groups, self.config.head_dim
        q = self.q_proj(x).view(B, T, -1, d).transpose(1, 2)
        k = self.k_proj(x).view(B, T, groups, d).transpose(1, 2)
        v = self.v_proj(x).view(B, T, groups, d).transpose(1, 2)
        parts, start = [], 0
        for bias in biases:
            end = bias.shape[2]
            # The query heads of a group become extra query rows: keys are not copied.
            rows = q[:, :, start:end].reshape(B, groups, -1, d)
            part = attend(rows, k[:, :, :end], v[:, :, :end], bias)
            parts.append(part.reshape(B, -1, end - start, d))
            start = end
        out: Tensor = self.o_proj(torch.cat(parts, dim=2).transpose(1, 2).reshape(B, T, -1))
        return out


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., H) -> (..., H)."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, biases: Sequence[Tensor]) -> Tensor:
        """(B, T, H) -> (B, T, H)."""
        x = x + self.self_attn(self.input_layernorm(x), biases)
        x = x + self.mlp(self.post_attention_layernorm(x))
        return x


class Backbone(nn.Module):
    """Embedding, layers and final norm, under the prefix `model.` of the published names."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        # The default initialisation, written out: on the meta device nn.Embedding's own would
        # import torch's compiler, two seconds of every start.
        table = torch.randn(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=table)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Step1(nn.Module):
    """The whole model. With tied embeddings there is no `lm_head.weight`."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = (
            None
            if config.tie_word_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        self._biases: OrderedDict[tuple[int, torch.dtype, torch.device], tuple[Tensor, ...]] = (
            OrderedDict()
        )

    def initialize(self, generator: torch.Generator, std: float = 0.02) -> None:
        """Draw fresh weights: normal, the two projections into the residual stream smaller."""
        shrink = (2 * self.config.num_hidden_layers) ** -0.5
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.dim() < 2:
                    weight.fill_(1.0)
                    continue
                into_stream = name.endswith(("o_proj.weight", "down_proj.weight"))
                weight.normal_(0.0, std * (shrink if into_stream else 1.0), generator=generator)

    @property
    def head_weight(self) -> Tensor:
        """Rows of the output layer, (V, H)."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def biases(self, length: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        """Return the score bias of successive runs of queries that cover T = `length`; cached.

        Returns:
            A run of t queries that ends before position e: (groups, heads_per_group * t, e), so
            that keys ahead of a run cost nothing.
        """
        key = (length, dtype, device)
        found = self._biases.get(key)
        if found is None:
            run = _CPU_QUERY_CHUNK if device.type == "cpu" else length
            slopes = alibi_slopes(self.config.num_attention_heads).to(device)
            found = tuple(
                alibi_bias(slopes, first, min(run, length - first))
                .to(dtype)
                .reshape(self.config.num_attention_groups, -1, min(first + run, length))
                for first in range(0, length, run)
            )
            self._biases[key] = found
            while len(self._biases) > _BIAS_CACHE_ENTRIES:
                self._biases.popitem(last=False)
        self._biases.move_to_end(key)
        return found

    def hidden(self, ids: Tensor | None = None, *, inputs_embeds: Tensor | None = None) -> Tensor:
        """Return the normed states after the last layer; differentiable.

        Args:
            ids: (B, T) int64; or
            inputs_embeds: (B, T, H), used instead of the embedding table.

        Returns:
            (B, T, H). Attention is causal, so padding on the right needs no mask.

        Raises:
            ShapeError: not exactly one input, or not of that shape.
        """
        if (ids is None) == (inputs_embeds is None):
            raise ShapeError("give either ids or inputs_embeds")
        x: Tensor = self.model.embed_tokens(ids) if inputs_embeds is None else inputs_embeds
        if x.dim() != 3 or x.shape[2] != self.config.hidden_size:
            raise ShapeError(
                f"input is {tuple(x.shape)}, expected (B, T, {self.config.hidden_size})"
            )
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else x.dtype
        biases = self.biases(x.shape[1], dtype, x.device)
        for layer in self.model.layers:
            x = layer(x, biases)
        out: Tensor = self.model.norm(x)
        return out

    def logits(self, hidden: Tensor, head_weight: Tensor | None = None) -> Tensor:
        """(..., H) -> (..., V), with the model's own head or the given (V, H) rows."""
        return F.linear(hidden, self.head_weight if head_weight is None else head_weight)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, V): logits of the next id at every position."""
        return self.logits(self.hidden(ids))
