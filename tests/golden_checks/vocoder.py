"""`vocoder/mel`, `vocoder/hift` and the whole way from tokens to sound."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from tests.golden_checks import flow
from tests.golden_checks.component import (
    Component,
    Errors,
    arrays,
    case_of,
    cases_with,
    facts,
    gap,
    read_weights,
    relative_rms,
)
from vocoder.hift import HiftGenerator
from vocoder.loading import hift_config
from vocoder.mel import MelConfig, log_mel, mel_filterbank


def mel_config(folder: Path) -> MelConfig:
    """Return the recorded mel's sizes; it was made without centring, as ours is."""
    raw = facts(folder / "vocoder" / "mel" / "config.json")
    return MelConfig(**{name: raw[name] for name in MelConfig.__slots__})


@cache
def hift(folder: Path) -> HiftGenerator:
    """Return the recorded generator."""
    raw = facts(folder / "vocoder" / "hift" / "config.json")
    made = HiftGenerator(hift_config(raw, "the recorded config.json"))
    read_weights(made, folder / "vocoder" / "hift" / "weights.safetensors")
    return made


def _mel(folder: Path) -> Errors:
    kept = arrays(folder / "vocoder" / "mel" / "data.safetensors")
    for clip in cases_with(kept, "mel"):
        ours = log_mel(kept[f"{clip}.wav22k"][None], mel_config(folder))[0]
        yield clip, gap(ours, kept[f"{clip}.mel"])


def _filterbank(folder: Path) -> Errors:
    kept = arrays(folder / "vocoder" / "mel" / "filterbank.safetensors")
    yield "mel_basis", gap(mel_filterbank(mel_config(folder)), kept["mel_basis"])


def _hift(folder: Path) -> list[tuple[str, dict[str, torch.Tensor]]]:
    kept = arrays(folder / "vocoder" / "hift" / "data.safetensors")
    return [(case, case_of(kept, case)) for case in cases_with(kept, "f0")]


@torch.inference_mode()
def _pitch(folder: Path) -> Errors:
    for name, case in _hift(folder):
        yield name, gap(hift(folder).f0_predictor(case["mel"]), case["f0"])


@torch.inference_mode()
def _source(folder: Path) -> Errors:
    model = hift(folder)
    for name, case in _hift(folder):
        f0 = model.f0_predictor(case["mel"])
        yield name, gap(model.m_source(f0, case["phase"], case["noise"]), case["source"])


@torch.inference_mode()
def _exact_source(folder: Path) -> Errors:
    case = arrays(folder / "vocoder" / "hift" / "source.safetensors")
    ours = hift(folder).m_source(case["f0"], case["phase"], case["noise"])
    yield "source", gap(ours, case["source_f64"])


@torch.inference_mode()
def _spectrum(folder: Path) -> Errors:
    for name, case in _hift(folder):
        if "magnitude" in case:
            magnitude, phase = hift(folder).spectrum(case["mel"], case["source"])
            yield f"{name} magnitude", relative_rms(magnitude, case["magnitude"])
            yield f"{name} phase", relative_rms(phase, case["phase_spec"])


@torch.inference_mode()
def _sound(folder: Path) -> Errors:
    model = hift(folder)
    for name, case in _hift(folder):
        yield name, relative_rms(model.decode(case["mel"], case["source"]), case["wav"])
    kept = arrays(folder / "vocoder" / "hift" / "data.safetensors")
    for name in cases_with(kept, "cache_source"):
        # The whole recorded source as head: nothing of our own is left in it.
        mel = kept[f"{name.removesuffix('_cache')}.mel"]
        wav = model.inference(mel, torch.Generator().manual_seed(0), kept[f"{name}.source"])
        yield name, relative_rms(wav, kept[f"{name}.wav"])


@torch.inference_mode()
def _own_sound(folder: Path) -> Errors:
    model = hift(folder)
    for name, case in _hift(folder):
        source = model.m_source(model.f0_predictor(case["mel"]), case["phase"], case["noise"])
        yield name, relative_rms(model.decode(case["mel"], source), case["wav"])


@torch.inference_mode()
def _token_to_wav(folder: Path, *, own_source: bool) -> Errors:
    kept = arrays(folder / "vocoder" / "token_to_wav.safetensors")
    model = hift(folder)
    for name in cases_with(kept, "wav"):
        case = case_of(kept, name)
        mel = flow.token_to_mel(folder, name).T[None]
        source = case["source"]
        if own_source:
            source = model.m_source(model.f0_predictor(mel), case["phase"], case["noise"])
        yield name, relative_rms(model.decode(mel, source), case["wav"])


COMPONENTS = (
    Component("vocoder: mel", 1e-3, _mel),
    Component("vocoder: mel filters", 1e-6, _filterbank),
    Component("hift: pitch", 1e-2, _pitch),
    Component("hift: source", 1e-3, _source),
    Component("hift: source against float64", 1e-5, _exact_source),
    Component("hift: magnitude and phase", 1e-4, _spectrum),
    Component("hift: sound of the recorded source", 1e-4, _sound),
    Component("hift: sound of our own source", 5e-3, _own_sound),
    Component(
        "vocoder: tokens to sound, recorded source",
        1e-4,
        lambda folder: _token_to_wav(folder, own_source=False),
    ),
    Component(
        "vocoder: tokens to sound, our own source",
        # Twice HiFT's: here the pitch comes from our own mel, and the reference sums its phase in
        # float32, which drifts with length. Mistakes cost 4 % and more (sensitivity.json).
        1e-2,
        lambda folder: _token_to_wav(folder, own_source=True),
    ),
)
