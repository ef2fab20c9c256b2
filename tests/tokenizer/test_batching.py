"""Streams that share passes of the encoder make what they make alone, and hold up nobody."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from step_audio.core.errors import ShapeError
from tests import laws
from tests.golden_checks import linguistic
from tests.tokenizer import golden
from tokenizer.batching import ChunkBatcher
from tokenizer.codebook import Codebook
from tokenizer.linguistic import LinguisticTokenizer
from tokenizer.sanm import SanmEncoder

ENCODER = linguistic.encoder(golden.GOLDEN)
TABLE = np.load(golden.LINGUISTIC / "linguistic_tokenizer.npy")
CLIPS = {clip: golden.sound(clip) for clip in golden.CLIPS}


def feats(seed: int, chunks: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 4, 560, generator=generator) for _ in range(chunks)]


def tokenizer(batch: int) -> LinguisticTokenizer:
    return LinguisticTokenizer(
        ENCODER, Codebook(TABLE), linguistic.cmvn(golden.GOLDEN), batch=batch
    )


@torch.inference_mode()
def alone(chunks: list[Tensor]) -> list[Tensor]:
    cache = ENCODER.open()
    return [ENCODER.forward_chunk(chunk, cache) for chunk in chunks]


class Counting(SanmEncoder):
    """Notes how many streams each pass had."""

    def __init__(self) -> None:
        super().__init__(ENCODER.config)
        self.load_state_dict(ENCODER.state_dict())
        self.eval()
        self.sizes: list[int] = []

    def forward_chunks(self, feats, caches):  # type: ignore[no-untyped-def]
        self.sizes.append(len(feats))
        return super().forward_chunks(feats, caches)


@torch.inference_mode()
def test_streams_at_other_positions_share_a_pass_and_equal_themselves_alone() -> None:
    lengths = (5, 9, 6)
    streams = [feats(seed, n + 3) for seed, n in enumerate(lengths)]
    caches = [ENCODER.open() for _ in lengths]
    for chunks, cache, n in zip(streams, caches, lengths, strict=True):
        for chunk in chunks[:n]:
            ENCODER.forward_chunk(chunk, cache)
    for step in range(3):
        due = [chunks[n + step] for chunks, n in zip(streams, lengths, strict=True)]
        got = ENCODER.forward_chunks(due, caches)
        for chunks, frames, n in zip(streams, got, lengths, strict=True):
            torch.testing.assert_close(frames, alone(chunks)[n + step], rtol=0, atol=1e-5)
    assert [cache.position for cache in caches] == [4 * (n + 3) for n in lengths]


@torch.inference_mode()
def test_a_streams_state_does_not_keep_the_others_alive() -> None:
    caches = [ENCODER.open() for _ in range(8)]
    for chunks in zip(*(feats(seed, 6) for seed in range(8)), strict=True):
        ENCODER.forward_chunks(chunks, caches)
    for tensor in (caches[3].memory, caches[3].history):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4


def test_threads_meet_in_one_pass() -> None:
    encoder = Counting()
    batcher = ChunkBatcher(encoder, limit=4, wait_s=2.0)
    caches = [batcher.open() for _ in range(4)]
    streams = [feats(seed, 6) for seed in range(4)]

    def push(at: int) -> list[Tensor]:
        return [batcher.forward(chunk, caches[at]) for chunk in streams[at]]

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(push, range(4)))
    assert encoder.sizes == [4] * 6
    for chunks, frames in zip(streams, got, strict=True):
        torch.testing.assert_close(frames, alone(chunks), rtol=0, atol=1e-5)


def test_codes_of_many_threads_are_those_of_one_stream_at_a_time() -> None:
    shared, single = tokenizer(batch=6), tokenizer(batch=1)
    order = [*CLIPS, *CLIPS]

    def codes(clip: str) -> list[int]:
        pcm = CLIPS[clip]
        got: list[int] = laws.run(shared.open(), np.array_split(pcm, 1 + len(pcm) // 1920)).tolist()
        return got

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(codes, order))
    assert got == [laws.run(single.open(), [CLIPS[clip]]).tolist() for clip in order]


def test_batched_streams_obey_the_laws() -> None:
    shared, pcm = tokenizer(batch=4), CLIPS["en_5"]
    laws.chunking_is_invisible(shared.open, pcm, [0, 100, 3840, 3841, 20000])
    laws.streams_are_isolated(shared.open, pcm, pcm[::-1].copy())
    laws.flush_is_final_and_total(shared.open, pcm[:1920], expected=2)


def test_a_stream_that_stops_or_is_dropped_holds_up_nobody() -> None:
    batcher = ChunkBatcher(ENCODER, limit=4, wait_s=0.05)
    silent, own = batcher.open(), batcher.open()
    began = time.monotonic()
    batcher.forward(feats(0, 1)[0], own)
    assert 0.04 < time.monotonic() - began < 1.0
    del silent
    batcher = ChunkBatcher(ENCODER, limit=4, wait_s=60.0)
    own = batcher.open()
    batcher.open()  # dropped at once
    batcher.forward(feats(0, 1)[0], own)
    assert batcher.forward(feats(0, 1)[0], own).shape == (1, 4, 64)


def test_a_wrong_chunk_is_refused_for_its_own_stream_only() -> None:
    batcher = ChunkBatcher(ENCODER, limit=2, wait_s=0.2)
    good, bad = batcher.open(), batcher.open()
    batcher.forward(torch.zeros(1, 3, 560), bad)
    failures: list[ShapeError] = []

    def wrong() -> None:
        try:
            batcher.forward(torch.zeros(1, 4, 560), bad)
        except ShapeError as error:
            failures.append(error)

    thread = threading.Thread(target=wrong)
    thread.start()
    got = batcher.forward(feats(1, 1)[0], good)
    thread.join(5)
    assert len(failures) == 1
    torch.testing.assert_close(got, alone(feats(1, 1))[0], rtol=0, atol=1e-5)


def test_a_failing_pass_reaches_every_stream_and_the_next_pass_runs() -> None:
    encoder = Counting()
    batcher = ChunkBatcher(encoder, limit=2, wait_s=2.0)
    caches = [batcher.open(), batcher.open()]
    weights = encoder.after_norm.weight
    encoder.after_norm.weight = torch.nn.Parameter(torch.ones(3))

    def push(at: int) -> str:
        try:
            batcher.forward(torch.zeros(1, 4, 560), caches[at])
        except RuntimeError:
            return "failed"
        return "passed"

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(push, range(2))) == ["failed", "failed"]
        encoder.after_norm.weight = weights
        fresh = [batcher.open(), batcher.open()]
        caches[:] = fresh
        assert list(pool.map(push, range(2))) == ["passed", "passed"]


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(1, T, 560\)"):
        ENCODER.forward_chunk(torch.zeros(1, 4, 80), ENCODER.open())


@torch.inference_mode()
def test_packed_streams_that_share_a_pass_equal_plain_ones_alone() -> None:
    packed = linguistic.encoder(golden.GOLDEN)
    packed.pack()
    streams = [feats(seed, 7) for seed in range(3)]
    streams = [[*chunks[:6], chunks[6][:, :2]] for chunks in streams]
    caches = [packed.open() for _ in streams]
    for step in range(7):
        got = packed.forward_chunks([chunks[step] for chunks in streams], caches)
        for chunks, frames in zip(streams, got, strict=True):
            torch.testing.assert_close(frames, alone(chunks)[step], rtol=0, atol=1e-5)
