"""How large a Step1 is: parameters, bytes, KV cache, from six numbers. No torch, no file.

Source: `config.json` of the published models; their parameter counts follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from step_audio.core.errors import InputError

Quantization = Literal["bf16", "fp8", "int4", "int8"]

# Bits of one weight of a layer: int4 in groups of 128 with a 16-bit scale and a 4-bit zero point,
# int8 with one 32-bit scale a row.
_BITS: Final[dict[Quantization, float]] = {
    "bf16": 16,
    "fp8": 8,
    "int4": 4 + (16 + 4) / 128,
    "int8": 8,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of a config; names as in `Step1Config`.

    Attributes:
        head: width of one head where it is not hidden / heads; 0: it is.
    """

    hidden: int
    intermediate: int
    heads: int
    groups: int
    layers: int
    vocab: int
    tied: bool = False
    head: int = 0

    @property
    def _head(self) -> int:
        return self.head or self.hidden // self.heads

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers: the part that quantisation shrinks."""
        queries, keys = self._head * self.heads, self._head * self.groups
        each = 2 * self.hidden * (queries + keys) + 3 * self.hidden * self.intermediate
        return self.layers * each

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layer_parameters + self.hidden * self.vocab * (1 if self.tied else 2)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the published names and the shapes that these sizes ask for."""
        H, V, inner = self.hidden, self.vocab, self.intermediate
        keys = H // self.heads * self.groups
        layer = {
            "input_layernorm": (H,),
            "self_attn.q_proj": (H, H),
            "self_attn.k_proj": (keys, H),
            "self_attn.v_proj": (keys, H),
            "self_attn.o_proj": (H, H),
            "post_attention_layernorm": (H,),
            "mlp.gate_proj": (inner, H),
            "mlp.up_proj": (inner, H),
            "mlp.down_proj": (H, inner),
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, H)}
        for number in range(self.layers):
            shapes |= {f"model.layers.{number}.{n}.weight": shape for n, shape in layer.items()}
        shapes["model.norm.weight"] = (H,)
        if not self.tied:
            shapes["lm_head.weight"] = (V, H)
        return shapes

    def weight_bytes(self, quantization: Quantization) -> int:
        """Return the bytes of all weights; embedding and head stay bf16, except in int8."""
        bits = _BITS[quantization]
        rest = self.parameters - self.layer_parameters
        return int(self.layer_parameters * bits / 8) + rest * (1 if quantization == "int8" else 2)

    def read_bytes(self, quantization: Quantization) -> int:
        """Return the bytes of weights that one step reads: all but the embedding's table."""
        table = 0 if self.tied else self.hidden * self.vocab * (1 if quantization == "int8" else 2)
        return self.weight_bytes(quantization) - table

    def kv_bytes(self, cards: int = 1, width: int = 2) -> int:
        """Return the KV cache of one position over all cards, in a type of `width` bytes.

        With more cards than groups each group is kept several times.
        """
        keys = self._head * max(self.groups, cards)
        return 2 * self.layers * keys * width

    def check_cards(self, cards: int, option: str) -> None:
        """Raise InputError unless so many cards can share every layer; `option` gave their number.

        Heads and the inner width are divided; a card has whole groups of keys, or several cards
        share a group.
        """
        if not self._splits(cards):
            fits = ", ".join(str(n) for n in (1, 2, 4, 8, 16) if self._splits(n))
            raise InputError(
                f"{self.heads} heads in {self.groups} groups cannot be split over {cards} cards;"
                f" {option} may be {fits}"
            )

    def _splits(self, cards: int) -> bool:
        grouped = self.groups % cards == 0 or cards % self.groups == 0
        return grouped and self.heads % cards == 0 and self.intermediate % cards == 0


def sizes_of(config: Mapping[str, object]) -> Sizes:
    """Return the sizes of a `config.json`.

    Raises:
        InputError: one is missing or no positive integer.
    """
    values: dict[str, int] = {}
    for name, key in CONFIG_KEYS.items():
        value = config.get(key)
        if type(value) is not int or value < 1:
            raise InputError(f"config.json: {key} is {value!r}, expected a positive integer")
        values[name] = value
    return Sizes(**values, tied=config.get("tie_word_embeddings") is True)


CONFIG_KEYS: Final = {
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "groups": "num_attention_groups",
    "layers": "num_hidden_layers",
    "vocab": "vocab_size",
}
"""Names of the numbers in `config.json`."""

PUBLISHED: Final[dict[str, Sizes]] = {
    "step-audio-chat": Sizes(12288, 31232, 96, 8, 88, 74752),
    "step-audio-aqaa": Sizes(12288, 31232, 96, 8, 88, 74752),
    "step-audio-tts-3b": Sizes(3072, 8192, 48, 4, 32, 74752),
}
"""By the name under which the profiles serve them."""

CHAT_MODELS: Final[dict[str, Sizes]] = {
    "qwen2.5-7b": Sizes(3584, 18944, 28, 4, 28, 152064),
    "qwen3-4b": Sizes(2560, 9728, 32, 8, 36, 151936, tied=True, head=128),
    "qwen3-8b": Sizes(4096, 12288, 32, 8, 36, 151936, head=128),
}
"""Chat models that others serve, by how their names begin; numbers of their `config.json`."""

WHISPERS: Final[dict[str, int]] = {
    "base": 74_000_000,
    "small": 244_000_000,
    "medium": 769_000_000,
    "large-v3": 1_550_000_000,
    "large-v3-turbo": 809_000_000,
}
"""Parameters. Source: the model cards of openai/whisper-*."""
