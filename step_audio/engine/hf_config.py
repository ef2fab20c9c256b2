"""The config of a Step1 folder as transformers and vLLM read it."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PretrainedConfig


class Step1HfConfig(PretrainedConfig):
    """Published `config.json` under the names that vLLM sizes memory by.

    vLLM computes the KV cache from `num_key_value_heads` and the context from
    `max_position_embeddings`; published folders say `num_attention_groups` and `max_seq_len`.
    """

    model_type = "step1"
    auto_map: ClassVar[
        dict[str, str]
    ] = {}  # TRL asks every model that the library does not bring itself

    def __init__(
        self, num_attention_groups: int = 1, max_seq_len: int | None = None, **rest: Any
    ) -> None:
        rest.setdefault("num_key_value_heads", num_attention_groups)
        if max_seq_len is not None:
            rest.setdefault("max_position_embeddings", max_seq_len)
            self.max_seq_len = max_seq_len
        # Published checkpoints leave it out and have an output layer of their own; the
        # library's default is to tie.
        rest.setdefault("tie_word_embeddings", False)
        # A folder need not name it; the same default as in the local engine.
        rest.setdefault("rms_norm_eps", 1e-5)
        rest.setdefault("initializer_range", 0.02)
        self.num_attention_groups = num_attention_groups
        super().__init__(**rest)
        # The library takes it for an option of generation and drops it.
        self.use_cache = bool(rest.get("use_cache", True))
