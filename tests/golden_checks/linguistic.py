"""`linguistic_tokenizer/`: front end, SAN-M encoder, nearest centroid."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.golden_checks.component import (
    Component,
    Errors,
    arrays,
    case_of,
    cases_with,
    differing,
    facts,
    gap,
    read_weights,
)
from tokenizer.codebook import Codebook
from tokenizer.fbank import Fbank
from tokenizer.features import Cmvn, StackedFeatures, offline_lfr
from tokenizer.linguistic import LinguisticTokenizer
from tokenizer.sanm import SanmConfig, SanmEncoder
from tokenizer.weight_files import read_cmvn

SIZES = ("output_size", "attention_heads", "linear_units", "num_blocks", "kernel_size")


def data(folder: Path) -> dict[str, Tensor]:
    """Return what was recorded of whole clips."""
    return arrays(folder / "linguistic_tokenizer" / "data.safetensors")


def front(folder: Path) -> dict[str, Tensor]:
    """Return what was recorded of the front end and of single chunks."""
    return arrays(folder / "linguistic_tokenizer" / "frontend.safetensors")


def cmvn(folder: Path) -> Cmvn:
    """Return the recorded normalisation."""
    return read_cmvn(folder / "linguistic_tokenizer" / "am.mvn")


def encoder_config(folder: Path) -> SanmConfig:
    """Return the sizes of the recorded encoder."""
    raw = facts(folder / "linguistic_tokenizer" / "config.json")
    _, chunk_frames, history_frames = raw["chunk_size"]
    return SanmConfig(
        **{name: raw["encoder_conf"][name] for name in SIZES},
        input_size=raw["input_size"],
        chunk_frames=chunk_frames,
        history_frames=history_frames,
        look_back_chunks=raw["encoder_chunk_look_back"],
    )


@cache
def encoder(folder: Path) -> SanmEncoder:
    """Return the recorded encoder."""
    made = SanmEncoder(encoder_config(folder))
    read_weights(made, folder / "linguistic_tokenizer" / "weights.safetensors", "encoder.")
    return made


@cache
def tokenizer(folder: Path) -> LinguisticTokenizer:
    """Return the whole recorded tokenizer."""
    table = np.load(folder / "linguistic_tokenizer" / "linguistic_tokenizer.npy")
    return LinguisticTokenizer(encoder(folder), Codebook(table), cmvn(folder))


@torch.inference_mode()
def by_chunks(model: SanmEncoder, feats: Tensor) -> Tensor:
    """Encode (B, T, 560) chunk by chunk with a cache: (B, T, D)."""
    cache = model.open(feats.shape[0])
    chunks = torch.split(feats, model.config.chunk_frames, dim=1)
    return torch.cat([model.forward_chunk(chunk, cache) for chunk in chunks], dim=1)


def _fbank(folder: Path) -> Errors:
    for clip in cases_with(data(folder), "wav16k"):
        rows = Fbank("hamming", scale=32768.0)(data(folder)[f"{clip}.wav16k"].numpy())
        yield clip, gap(rows, front(folder)[f"{clip}.fbank80"])


def _dither(folder: Path) -> Errors:
    case = case_of(front(folder), "dither")
    rows = Fbank("hamming", scale=32768.0)(case["wav"].numpy(), case["noise"].numpy())
    yield "dither", gap(rows, case["fbank80"])


def _stacked(folder: Path) -> Errors:
    for clip in cases_with(data(folder), "feats"):
        pcm = data(folder)[f"{clip}.wav16k"]
        stage = StackedFeatures(cmvn(folder))
        chunks = [*stage.push(pcm.numpy()), *stage.flush()]
        yield clip, gap(np.concatenate(chunks), data(folder)[f"{clip}.feats"])
        whole = cmvn(folder)(offline_lfr(pcm).numpy())
        yield f"{clip} whole", gap(whole, front(folder)[f"{clip}.offline_feats"])


def _chunk_frames(folder: Path) -> Errors:
    for clip in cases_with(data(folder), "chunk_frames"):
        stage = StackedFeatures(cmvn(folder))
        chunks = [*stage.push(data(folder)[f"{clip}.wav16k"].numpy()), *stage.flush()]
        wanted = data(folder)[f"{clip}.chunk_frames"].tolist()
        yield clip, differing([len(c) for c in chunks], wanted)
    edges = facts(folder / "linguistic_tokenizer" / "edge_lengths.json")["cases"]
    for samples, want in edges.items():
        stage = StackedFeatures(cmvn(folder))
        pcm = front(folder)["edge.wav"][: int(samples)].numpy()
        chunks = [*stage.push(pcm), *stage.flush()]
        yield f"{samples} samples", differing([len(c) for c in chunks], want["chunk_frames"])


def _streamed(folder: Path) -> Errors:
    for clip in cases_with(data(folder), "enc_out"):
        case = case_of(data(folder), clip)
        out = by_chunks(encoder(folder), case["feats"][None])[0]
        yield clip, gap(out, case["enc_out"])
        if "stream_enc_out" in case:
            yield f"{clip} in calls", gap(out, case["stream_enc_out"])
    for case_name in cases_with(front(folder), "enc_out"):
        case = case_of(front(folder), case_name)
        samples = int(case_name.rpartition(".")[2])
        stage = StackedFeatures(cmvn(folder))
        chunks = [*stage.push(front(folder)["edge.wav"][:samples].numpy()), *stage.flush()]
        feats = torch.from_numpy(np.concatenate(chunks))[None]
        yield case_name, gap(by_chunks(encoder(folder), feats)[0], case["enc_out"])


@torch.inference_mode()
def _at_once(folder: Path) -> Errors:
    for clip in cases_with(data(folder), "enc_out"):
        case = case_of(data(folder), clip)
        yield clip, gap(encoder(folder)(case["feats"][None])[0], case["enc_out"])


@torch.inference_mode()
def _cache(folder: Path) -> Errors:
    model, recorded = encoder(folder), front(folder)
    # Which clip's chunks were recorded is not said: it is the first whose first window fits.
    names = {int(name.removeprefix("cache.after")) for name in cases_with(recorded, "layer0_k")}
    for clip in cases_with(data(folder), "feats"):
        cache = model.open()
        found: list[tuple[str, float]] = []
        chunks = torch.split(data(folder)[f"{clip}.feats"][None], model.config.chunk_frames, dim=1)
        for number, chunk in enumerate(chunks[: max(names)], start=1):
            out = model.forward_chunk(chunk, cache)
            if number in names:
                case = case_of(recorded, f"cache.after{number}")
                keys, values = model.remembered(cache)
                worst = max(
                    gap(cache.history, case["feats"]),
                    gap(keys[0], case["layer0_k"]),
                    gap(values[-1], case["lastlayer_v"]),
                    gap(out, case["window_out"][:, model.config.history_frames :]),
                )
                found.append((f"{clip} after {number}", worst))
        if len(found) == len(names) and found[0][1] < CACHE_LIMIT:
            yield from found
            return
    yield "no clip has these caches", float("inf")


def _labels(folder: Path) -> Errors:
    for clip in cases_with(data(folder), "labels"):
        case = case_of(data(folder), clip)
        pcm, wanted = case["wav16k"].numpy(), case["labels"].tolist()
        yield f"{clip} whole", differing(tokenizer(folder).encode(pcm).tolist(), wanted)
        calls = case.get("stream_call_samples")
        lengths = [len(pcm)] if calls is None else calls.tolist()
        stage, codes, counts = tokenizer(folder).open(), list[int](), list[int]()
        for piece in np.split(pcm, np.cumsum(lengths)[:-1]):
            made = list(stage.push(piece))
            codes += made
            counts.append(len(made))
        codes += stage.flush()
        yield f"{clip} streamed", differing(codes, wanted)


CACHE_LIMIT = 1e-3

COMPONENTS = (
    Component("linguistic: kaldi fbank", 2e-3, _fbank),
    Component("linguistic: fbank with recorded dither", 2e-3, _dither),
    Component("linguistic: stacked and normalised features", 2e-3, _stacked),
    Component("linguistic: frames of each chunk", 0, _chunk_frames),
    Component("linguistic: encoder, streamed", 1e-3, _streamed),
    Component("linguistic: encoder, all chunks at once", 1e-3, _at_once),
    Component("linguistic: encoder cache", CACHE_LIMIT, _cache),
    Component("linguistic: codes", 0, _labels),
)
