"""Will it keep up? Memory, pace, first sound and sessions, from sizes and bandwidth alone.

One id needs all weights once and the KV cache of its session; neither can come faster than memory
gives them. So these are ceilings: a real server reaches most of them for one session, less for
many. The models of sound count with their memory; the time that they and the network take does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from step_audio.core.errors import InputError
from step_audio.core.types import GROUP_MS, Form
from step_audio.core.vocab import GROUP_SIZE
from step_audio.engine.sizes import Quantization, Sizes

AUDIO_IDS_S: Final = 1000 / GROUP_MS * GROUP_SIZE
"""41.7: the pace of sound alone."""
MIXED_IDS_S: Final = AUDIO_IDS_S * (10 + 15) / 15
"""69: with 10 ids of text for every 15 of sound."""
NEEDED_IDS_S: Final[dict[Form, float]] = {
    "answer": MIXED_IDS_S,
    "speech": AUDIO_IDS_S,
    "text": MIXED_IDS_S - AUDIO_IDS_S,
}

_USABLE: Final = 0.9  # of a card's memory, vLLM's default
WORK_BYTES: Final = 2 * 10**9
"""Of an engine on each card: activations, CUDA graphs, communication."""
CONTEXT_BYTES: Final = 5 * 10**8
"""Of CUDA itself, for the server's process on a card."""
_TEXT_RUN, _GROUP_RUN = 10, 3


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card: memory and its bandwidth (bytes, bytes/s), dense bf16 arithmetic (operations/s)."""

    memory: float
    bandwidth: float
    flops: float


GPUS: Final[dict[str, Gpu]] = {
    "a100": Gpu(80e9, 2.039e12, 312e12),
    "a800": Gpu(80e9, 1.935e12, 312e12),
    "h20": Gpu(96e9, 4.0e12, 148e12),
    "h100": Gpu(80e9, 3.35e12, 989e12),
    "h200": Gpu(141e9, 4.8e12, 989e12),
    "b200": Gpu(180e9, 8.0e12, 2250e12),
    "a10": Gpu(24e9, 0.600e12, 125e12),
    "l4": Gpu(24e9, 0.300e12, 121e12),
    "l40s": Gpu(48e9, 0.864e12, 362e12),
    "rtx3090": Gpu(24e9, 0.936e12, 71e12),
    "rtx4080": Gpu(16e9, 0.717e12, 97e12),
    "rtx4090": Gpu(24e9, 1.008e12, 165e12),
    "rtx5090": Gpu(32e9, 1.792e12, 210e12),
    "rtxpro6000": Gpu(96e9, 1.792e12, 504e12),
}
"""NVIDIA's data sheets, of GeForce and RTX PRO cards its papers on Ada and Blackwell (arithmetic as
summed in float32, without sparsity); the A800 as PCIe card, the RTX PRO 6000 as Blackwell."""


def gpu_of(name: str) -> Gpu:
    """Return a card by its name, however it is spelled: `RTX PRO 6000`, `rtx-4090`, `NVIDIA L4`.

    Raises:
        InputError: no figures for it.
    """
    key = re.sub(r"[^a-z0-9]|nvidia|geforce", "", name.lower())
    if key not in GPUS:
        raise InputError(f"no figures for GPU {name!r}; known: {', '.join(GPUS)}")
    return GPUS[key]


@dataclass(frozen=True, slots=True)
class SoundModel:
    """A model beside the language models, in float32.

    Attributes:
        stream_bytes: what a session keeps.
        pass_bytes: what each stream of a pass needs while it runs.
        pass_streams: most streams of a pass.
        on_card: else it is in the machine's own memory.
    """

    name: str
    parameters: int
    stream_bytes: int
    pass_bytes: int = 0
    pass_streams: int = 1
    on_card: bool = False

    @property
    def weight_bytes(self) -> int:
        return 4 * self.parameters

    def memory_bytes(self, sessions: int) -> int:
        """Return what it needs for so many sessions."""
        running = min(sessions, self.pass_streams) * self.pass_bytes
        return self.weight_bytes + sessions * self.stream_bytes + running


LINGUISTIC: Final = SoundModel("linguistic tokenizer", 157_975_648, stream_bytes=3_400_000)
"""Paraformer's encoder, 50 layers of width 512, which keep keys and values of 16 rows."""
SEMANTIC: Final = SoundModel("semantic tokenizer", 130_750_000, stream_bytes=110_000)
"""`speech_tokenizer_v1.onnx` of 523 MB; a session keeps 1.6 s of sound."""
VOCODER: Final = SoundModel("vocoder", 125_847_069, stream_bytes=1_000_000, pass_bytes=240_000_000)
"""Flow (105 million) and HiFT (20 million). A pass was measured at its largest window: 25 groups of
a voice's example, 4 of context, 16 new ones and one ahead."""


def beside_bytes(models: Sequence[SoundModel], sessions: int) -> int:
    """Return what the models of sound take from a card's memory, 0 when none is on one."""
    needed = [model.memory_bytes(sessions) for model in models if model.on_card]
    return sum(needed) + CONTEXT_BYTES if needed else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. Bytes, ids per second, milliseconds.

    Attributes:
        fits: the weights and one session's context.
        kv_tokens: positions that memory has room for beside the weights.
        card_bytes: used of the fullest card: weights, engine, KV of `sessions`, models of sound.
        memory_share: of a card's memory that the engine may take (vLLM's --gpu-memory-utilization).
        ids_s: ceiling of one session among `sessions`.
        alone_ids_s: ceiling of one session by itself, with an empty cache.
        needed_ids_s: what speech without gaps needs.
        first_audio_ms: from the end of a question that was read ahead to the first ids of sound
            being complete.
        max_sessions: as many as keep the needed pace and fit.
    """

    weight_bytes: int
    memory_bytes: float
    kv_tokens: int
    card_bytes: float
    memory_share: float
    alone_ids_s: float
    ids_s: float
    needed_ids_s: float
    first_audio_ms: float
    sessions: int
    max_sessions: int

    @property
    def fits(self) -> bool:
        return self.kv_tokens > 0

    @property
    def keeps_up(self) -> bool:
        """True when every session can speak without gaps."""
        return self.sessions <= self.max_sessions

    def as_dict(self) -> dict[str, float | int | bool]:
        """Return all of it for JSON."""
        return {**asdict(self), "fits": self.fits, "keeps_up": self.keeps_up}


def plan(
    sizes: Sizes,
    gpu: Gpu,
    count: int,
    quantization: Quantization,
    *,
    sessions: int = 1,
    context: int = 4096,
    writes: Form = "answer",
    first_groups: int = 4,
    sound: Sequence[SoundModel] = (),
    others_bytes: float = 0.0,
) -> Plan:
    """Return what a deployment can do.

    Args:
        sizes: of the model.
        gpu, count: the cards that share it by tensor parallelism.
        quantization: of the layers' weights; the KV cache stays bf16.
        sessions: speaking at the same time.
        context: ids that a session holds.
        writes: text and sound interleaved, or one of them alone.
        first_groups: groups that the vocoder waits for.
        sound: models on one of the same cards; vLLM takes equal shares of all cards.
        others_bytes: what else lies on the fullest of the cards.

    Raises:
        InputError: a count that cannot be.
    """
    if count < 1 or sessions < 1 or context < 1:
        raise InputError(
            f"{count} cards, {sessions} sessions of {context} ids: expected at least one of each"
        )
    sizes.check_cards(count, "--count")
    weights, kv = sizes.weight_bytes(quantization), sizes.kv_bytes(count)
    beside = beside_bytes(sound, sessions) + others_bytes
    usable = max(0.0, min(gpu.memory * _USABLE, gpu.memory - beside))
    room = count * (usable - WORK_BYTES) - weights
    kv_tokens = max(0, int(room // kv))
    needed = NEEDED_IDS_S[writes]

    def pace(rows: int, held: int) -> float:
        read = sizes.read_bytes(quantization) + rows * held * kv
        seconds = max(
            read / (count * gpu.bandwidth), 2 * rows * sizes.parameters / (count * gpu.flops)
        )
        return 1 / seconds

    # More sessions at once need more of the vocoder's passes, so this is for `sessions` of them.
    most, fitting = 0, kv_tokens // context
    while most < fitting and pace(most + 1, context) >= needed:
        most += 1
    rate = pace(sessions, context)
    return Plan(
        weight_bytes=weights,
        memory_bytes=count * gpu.memory,
        kv_tokens=kv_tokens,
        card_bytes=(weights + sessions * context * kv) / count + WORK_BYTES + beside,
        memory_share=math.floor(100 * usable / gpu.memory) / 100,
        alone_ids_s=pace(1, 0),
        ids_s=rate,
        needed_ids_s=needed,
        first_audio_ms=1000 * ids_before_sound(first_groups, writes) / rate,
        sessions=sessions,
        max_sessions=most,
    )


def ids_before_sound(groups: int, writes: Form) -> int:
    """Return how many ids are drawn until so many groups are complete, or one run of text is."""
    runs = -(-groups // _GROUP_RUN)
    return {
        "answer": runs * _TEXT_RUN + groups * GROUP_SIZE,
        "speech": groups * GROUP_SIZE,
        "text": _TEXT_RUN,
    }[writes]
