"""Several models on one card: what each takes, and the share of memory to start each engine with.

vLLM measures the free memory when it starts and takes its share of the whole: engines that share a
card are started one after another, each with `memory_share`. Sums of sizes, not measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from step_audio.engine.plan import (
    VOCODER,
    WORK_BYTES,
    Gpu,
    beside_bytes,
)
from step_audio.engine.sizes import CHAT_MODELS, PUBLISHED, WHISPERS, Quantization, Sizes

USABLE: Final = 0.95
"""Of a card's memory, by all models together."""


@dataclass(frozen=True, slots=True)
class EngineOnCard:
    """One vLLM: bytes of its weights, of the KV cache of its sessions, and of itself."""

    name: str
    weight_bytes: int
    kv_bytes: int

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes + WORK_BYTES

    def memory_share(self, gpu: Gpu) -> float:
        """Return what vLLM is given as --gpu-memory-utilization."""
        return math.ceil(100 * self.bytes / gpu.memory) / 100


def engine_on_card(
    name: str, sizes: Sizes, quantization: Quantization, sessions: int, context: int
) -> EngineOnCard:
    """Return what an engine takes for so many sessions of so many ids."""
    kv = sizes.kv_bytes() * sessions * context
    return EngineOnCard(name, sizes.weight_bytes(quantization), kv)


@dataclass(frozen=True, slots=True)
class SharedCard:
    """A card and all that lies on it.

    Attributes:
        sound_bytes: of the vocoder and its like, with the process that they run in.
        ear_bytes: of a recognizer; 0: it runs on the CPU, or elsewhere.
    """

    gpu: Gpu
    engines: tuple[EngineOnCard, ...]
    sound_bytes: int
    ear_bytes: int = 0

    @property
    def bytes(self) -> int:
        return sum(engine.bytes for engine in self.engines) + self.sound_bytes + self.ear_bytes

    @property
    def fits(self) -> bool:
        return self.bytes <= USABLE * self.gpu.memory

    def others_bytes(self, name: str) -> int:
        """Return what lies beside an engine, its own models of sound left out."""
        beside = sum(engine.bytes for engine in self.engines if engine.name != name)
        return beside + self.ear_bytes


def whisper_bytes(model: str) -> int:
    """Return the bytes of a Whisper on a card, in 16 bits; 0: a model of no known size."""
    known = model.lower().rstrip("/").rpartition("/")[2]
    sizes = {name: n for name, n in WHISPERS.items() if known.endswith(name)}
    return 2 * sizes[max(sizes, key=len)] if sizes else 0


def chat_sizes(model: str) -> Sizes | None:
    """Return the sizes of a chat model by its name, None where they are not known.

    `Qwen/Qwen3-8B-AWQ` and Ollama's `qwen3:8b` are the same.
    """
    plain = model.lower().rpartition("/")[2].replace(":", "-")
    return next((sizes for name, sizes in CHAT_MODELS.items() if plain.startswith(name)), None)


def quantization_of(model: str) -> Quantization:
    """Return the format of a model's weights by its name; bf16 where it says nothing."""
    plain = model.lower()
    if any(word in plain for word in ("awq", "gptq", "int4", "4bit", "w4a16")):
        return "int4"
    return "fp8" if "fp8" in plain else "bf16"


class CardExample(NamedTuple):
    """A line of the table: which models on which card."""

    memory_gb: int
    chat: str | None
    chat_format: Quantization
    voice_format: Quantization
    ear: str | None
    context: int = 8192
    sessions: int = 1


CARD_EXAMPLES: Final = (
    CardExample(24, "qwen3-8b", "int4", "bf16", "large-v3-turbo"),
    CardExample(16, "qwen3-8b", "int4", "int4", None, 4096),
    CardExample(12, "qwen3-4b", "int4", "int4", None, 4096),
    CardExample(8, None, "int4", "int4", None),
    CardExample(48, "qwen3-8b", "bf16", "bf16", "large-v3-turbo", sessions=4),
)


def example_card(example: CardExample) -> SharedCard:
    """Return the card of a line: a chat model, Step-Audio-TTS-3B, its vocoder and an ear."""
    voice = PUBLISHED["step-audio-tts-3b"]
    asked = [("voice", voice, example.voice_format)]
    if example.chat is not None:
        asked.insert(0, ("chat", CHAT_MODELS[example.chat], example.chat_format))
    engines = [
        engine_on_card(name, sizes, kind, example.sessions, example.context)
        for name, sizes, kind in asked
    ]
    spoken = [replace(VOCODER, on_card=True, pass_streams=example.sessions)]
    ear = whisper_bytes(example.ear) if example.ear else 0
    gpu = Gpu(example.memory_gb * 1e9, 1.0, 1.0)
    return SharedCard(gpu, tuple(engines), beside_bytes(spoken, example.sessions), ear)
