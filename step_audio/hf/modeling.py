"""The network of Step1 under the library's interfaces: caches, padding, generation, checkpoints.

The same function as `step_audio.engine.step1`, held by goldens and tests. The one notion of
position is the score bias -slope * sqrt(distance), so nothing here reads `position_ids` but the
mask, which keeps the sequences of a packed row apart.

Source: Step-Audio report, arXiv:2502.11946, and the published `config.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import (
    GenericForSequenceClassification,
    GradientCheckpointingLayer,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from step_audio.core.vocab import Vocab
from step_audio.engine.alibi import alibi_bias, alibi_slopes, attend
from step_audio.engine.hf_config import Step1HfConfig
from step_audio.engine.int8 import Int8Weight
from step_audio.engine.step1 import FeedForward, RMSNorm, Step1Config
from step_audio.engine.weights import CONFIG_FILE, is_packed, load_step1


def eager_attention(  # noqa: PLR0917 - the library's signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention written out, heads of a group as further query rows: the fast way on a CPU.

    Args:
        query: (B, heads, T, d). key, value: (B, groups, S, d).
        attention_mask: (1 or B, heads, T, S), added to the scores.
        scaling: 1 / sqrt(d); what `attend` takes.

    Returns:
        (B, T, heads, d), and no weights.
    """
    B, heads, T, d = query.shape
    groups, S = key.shape[1], key.shape[2]
    rows, bias = query.reshape(B, groups, -1, d), attention_mask.to(query.dtype)
    if len(bias) == 1:
        out = attend(rows, key, value, bias.reshape(groups, -1, S))
    else:  # padded rows differ in what they may see
        scores = torch.baddbmm(
            bias.reshape(B * groups, -1, S),
            rows.reshape(B * groups, -1, d),
            key.reshape(B * groups, S, d).transpose(1, 2),
            alpha=scaling,
        )
        out = torch.bmm(scores.softmax(-1), value.reshape(B * groups, S, d))
    return out.reshape(B, heads, T, d).transpose(1, 2), None


class Step1Attention(nn.Module):
    """Causal grouped-query attention; the score bias comes with the mask."""

    def __init__(self, config: Step1HfConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, True
        width, groups = config.hidden_size, config.num_attention_groups
        self.head_dim = width // config.num_attention_heads
        self.num_key_value_groups = config.num_attention_heads // groups
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, groups * self.head_dim, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor, past_key_values: Cache | None = None) -> Tensor:
        """(B, T, H) -> (B, T, H); `mask` (1 or B, heads, T, S) is added to the scores."""
        shape = (*x.shape[:2], -1, self.head_dim)
        query = self.q_proj(x).view(shape).transpose(1, 2)
        key = self.k_proj(x).view(shape).transpose(1, 2)
        value = self.v_proj(x).view(shape).transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attention: Callable[..., tuple[Tensor, Any]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        # Under autocast the products are of another type than the stream they come from.
        out, _ = attention(self, query, key, value, mask.to(query.dtype), scaling=self.scaling)
        projected: Tensor = self.o_proj(out.reshape(*x.shape[:2], -1))
        return projected


class Step1DecoderLayer(GradientCheckpointingLayer):
    """One pre-norm layer."""

    def __init__(self, config: Step1HfConfig, layer_idx: int) -> None:
        super().__init__()
        sizes = sizes_of(config)
        self.self_attn = Step1Attention(config, layer_idx)
        self.mlp = FeedForward(sizes)
        self.input_layernorm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)

    def forward(
        self, hidden_states: Tensor, mask: Tensor, past_key_values: Cache | None = None
    ) -> Tensor:
        """(B, T, H) -> (B, T, H)."""
        x = hidden_states
        x = x + self.self_attn(self.input_layernorm(x), mask, past_key_values)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Step1PreTrainedModel(PreTrainedModel):
    """What the library needs to know of Step1."""

    config_class = Step1HfConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar = ["Step1DecoderLayer"]
    _skip_keys_device_placement: ClassVar = ["past_key_values"]
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: Step1HfConfig) -> None:
        # Folders need not name what every checkpoint has; without it nothing would end a turn.
        own = {"bos_token_id": Vocab().bos, "eos_token_id": Vocab().eot, "pad_token_id": 0}
        for name, token_id in own.items():
            if getattr(config, name, None) is None:
                setattr(config, name, token_id)
        super().__init__(config)

    @classmethod
    def from_pretrained(cls, name: Any, *rest: Any, **options: Any) -> Any:
        """Load as any model; a local folder of packed int8, as nano ships, is unpacked.

        Raises:
            WeightsError: such a folder is damaged.
        """
        folder = Path(name) if name is not None else None
        if folder is not None and (folder / CONFIG_FILE).is_file() and is_packed(folder):
            loaded = load_step1(folder)
            dtype = options.get("dtype") or options.get("torch_dtype")
            dtype = dtype if isinstance(dtype, torch.dtype) else torch.float32
            state = {
                key: w.dequantized(dtype) if isinstance(w, Int8Weight) else w.to(dtype)
                for key, w in loaded.tensors.items()
            }
            options.setdefault("config", cls.config_class.from_pretrained(folder))
            made = super().from_pretrained(None, *rest, state_dict=state, **options)
            made.config.name_or_path = made.name_or_path = str(folder)
            return made
        return super().from_pretrained(name, *rest, **options)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw fresh weights: normal, as configured; norms are one."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)


class Step1Model(Step1PreTrainedModel):
    """Embedding, layers and final norm."""

    def __init__(self, config: Step1HfConfig) -> None:
        super().__init__(config)
        sizes = sizes_of(config)
        self.embed_tokens = nn.Embedding(sizes.vocab_size, sizes.hidden_size)
        self.layers = nn.ModuleList(
            Step1DecoderLayer(config, at) for at in range(sizes.num_hidden_layers)
        )
        self.norm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(  # noqa: PLR0917 - the library's signature
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """Return the normed states after the last layer.

        Args:
            input_ids: (B, T), or `inputs_embeds` (B, T, H).
            attention_mask: (B, S), 0 where there is padding, on either side.
            position_ids: (B, T); where they begin again, another sequence of a packed row begins.
            past_key_values: extended by T positions.
            use_cache: make a cache where none is given; by default not in training.
            output_hidden_states: also return what goes into each layer.

        Raises:
            ValueError: not exactly one input.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        x: Tensor = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        wants_cache = self.config.use_cache if use_cache is None else use_cache
        if wants_cache and past_key_values is None and not self.training:
            past_key_values = DynamicCache(config=self.config)
        mask = self._mask(x, attention_mask, position_ids, past_key_values)
        states: list[Tensor] = []
        for layer in self.layers:
            if output_hidden_states:
                states.append(x)
            x = layer(x, mask, past_key_values)
        x = self.norm(x)
        return BaseModelOutputWithPast(
            last_hidden_state=x,
            past_key_values=past_key_values,
            hidden_states=(*states, x) if output_hidden_states else None,
        )

    def _mask(
        self,
        x: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: Cache | None,
    ) -> Tensor:
        """Return what is added to the scores, (1 or B, heads, T, S): bias, future, padding.

        Distances are counted along the row: padding in front moves all alike, and sequences of a
        packed row see only their own keys.
        """
        T = x.shape[1]
        first = int(cache.get_seq_length()) if cache is not None else 0
        slopes = alibi_slopes(self.config.num_attention_heads).to(x.device)
        bias = alibi_bias(slopes, first, T)[None]
        # Exact where the library's sdpa would leave a plain causal mask to the kernel.
        if attention_mask is None and position_ids is not None and first == 0:
            restarts = (position_ids[:, 1:] != position_ids[:, :-1] + 1).any()
            position_ids = position_ids if bool(restarts) else None
        elif attention_mask is not None and attention_mask.dim() == 2:
            attention_mask = None if bool(attention_mask.all()) else attention_mask
        size = first + T
        if cache is not None:
            size = max(size, int(cache.get_mask_sizes(T, 0)[0]))  # a static cache has room ahead
        allowed = None
        if attention_mask is not None or position_ids is not None:
            allowed = create_causal_mask(
                config=self.config,
                inputs_embeds=x,
                attention_mask=attention_mask,
                # Only where no cache is given are packed rows told apart; an empty one is none.
                past_key_values=cache if size > T else None,
                position_ids=position_ids,
            )
        lowest = torch.finfo(x.dtype).min
        bias = F.pad(bias, (0, size - bias.shape[-1]), value=lowest)
        # Finite: a row of padding sees nothing, and its softmax must not be NaN.
        bias = bias.clamp(min=lowest).to(x.dtype)
        if allowed is None:
            return bias
        hidden = ~allowed if allowed.dtype == torch.bool else allowed < 0
        return bias.masked_fill(hidden, lowest)


class Step1ForCausalLM(Step1PreTrainedModel, GenerationMixin):
    """The whole model; state-dict names are those of the published checkpoints."""

    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: Step1HfConfig) -> None:
        super().__init__(config)
        self.model = Step1Model(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(  # noqa: PLR0917 - the library's signature
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        **rest: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits of the next id at every position, and with `labels` the mean loss.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
                output_hidden_states: see `Step1Model.forward`.
            labels: (B, T) ids that must be predicted, -100 where nothing is learned.
            logits_to_keep: only so many positions from the end, or these; 0 for all.
        """
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(found.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **rest
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=found.past_key_values,
            hidden_states=found.hidden_states,
        )


class Step1ForSequenceClassification(GenericForSequenceClassification, Step1PreTrainedModel):
    """The layers under a head that scores a whole sequence: the form of a reward model."""


def sizes_of(config: Step1HfConfig) -> Step1Config:
    """Return the checked sizes. Raises WeightsError: missing or impossible."""
    given = {name: value for name, value in config.to_dict().items() if value is not None}
    return Step1Config.from_mapping(given)
