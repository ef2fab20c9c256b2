"""Will it keep up? Memory, pace, first sound and sessions, from sizes and bandwidth alone.

One id needs all weights once and the KV cache of its session; neither can come faster than memory
gives them. So these are ceilings: a real server reaches most of them for one session, less for
many. What the vocoder and the network add is not in here.
"""

from __future__ import annotations

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
_WORK_BYTES: Final = 2 * 10**9  # activations, CUDA graphs, communication, on each card
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
    "l40s": Gpu(48e9, 0.864e12, 362e12),
    "rtx3090": Gpu(24e9, 0.936e12, 71e12),
    "rtx4090": Gpu(24e9, 1.008e12, 165e12),
}
"""Data sheets; the A800 as PCIe card."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. Bytes, ids per second, milliseconds.

    Attributes:
        fits: the weights and one session's context.
        kv_tokens: positions that memory has room for beside the weights.
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

    Raises:
        InputError: a count that cannot be.
    """
    if count < 1 or sessions < 1 or context < 1 or sizes.heads % count:
        raise InputError(
            f"{count} cards, {sessions} sessions of {context} ids: expected at least one of each,"
            f" and cards that divide the {sizes.heads} heads"
        )
    weights, kv = sizes.weight_bytes(quantization), sizes.kv_bytes(count)
    room = count * (gpu.memory * _USABLE - _WORK_BYTES) - weights
    kv_tokens = max(0, int(room // kv))
    needed = NEEDED_IDS_S[writes]

    def pace(rows: int, held: int) -> float:
        read = sizes.read_bytes(quantization) + rows * held * kv
        seconds = max(
            read / (count * gpu.bandwidth), 2 * rows * sizes.parameters / (count * gpu.flops)
        )
        return 1 / seconds

    most, fitting = 0, kv_tokens // context
    while most < fitting and pace(most + 1, context) >= needed:
        most += 1
    rate = pace(sessions, context)
    return Plan(
        weight_bytes=weights,
        memory_bytes=count * gpu.memory,
        kv_tokens=kv_tokens,
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
