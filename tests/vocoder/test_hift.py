"""What HiFT's sound depends on; its numbers: tests/golden_checks."""

from __future__ import annotations

import copy
import json
import time

import torch
from torch import Tensor

from tests.golden_checks.component import relative_rms
from tests.vocoder.conftest import GOLDEN, golden_hift_config
from vocoder.f0 import CONTEXT_FRAMES
from vocoder.hift import HiftConfig, HiftGenerator, context_frames
from vocoder.loading import hift_config
from vocoder.weight_norm import fold_weight_norm


def test_the_same_seed_gives_the_same_sound(
    hift: HiftGenerator, hift_data: dict[str, Tensor]
) -> None:
    mel = hift_data["rand.mel"]
    first, again, other = (
        hift.inference(mel, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (1, mel.shape[2] * 256)


def test_folding_changes_no_sound(hift: HiftGenerator, hift_data: dict[str, Tensor]) -> None:
    folded = copy.deepcopy(hift)
    fold_weight_norm(folded)
    fold_weight_norm(folded)
    assert not any(name.endswith("weight_g") for name in folded.state_dict())
    wav = folded.decode(hift_data["flow.mel"], hift_data["flow.source"])
    assert relative_rms(wav, hift_data["flow.wav"]) < 1e-4


def test_full_size_has_the_published_names_shapes_and_parameters() -> None:
    manifest = json.loads((GOLDEN / "full_size_manifest.json").read_text())
    config = hift_config(manifest["hift_config"], "manifest")
    assert config == HiftConfig()
    with torch.device("meta"):
        generator = HiftGenerator(config)
    ours = {name: list(t.shape) for name, t in generator.state_dict().items()}
    assert ours == {name: entry["shape"] for name, entry in manifest["hift"].items()}
    assert sum(p.numel() for p in generator.parameters()) == 20_460_591


def test_nothing_beyond_the_stated_context_reaches_a_frame(hift: HiftGenerator) -> None:
    reach = context_frames(golden_hift_config())
    generator = torch.Generator().manual_seed(0)
    frames, middle = 2 * reach + 9, reach + 4
    mel = torch.randn(1, 80, frames, generator=generator)
    source = torch.rand(1, 1, frames * 256, generator=generator) - 0.5
    before = hift.decode(mel, source)[0, middle * 256 : (middle + 1) * 256]
    near, far = middle - reach, middle + reach + 1
    mel[:, :, :near] += 1.0
    mel[:, :, far:] += 1.0
    source[:, :, : near * 256] = 0.3
    source[:, :, far * 256 :] = 0.3
    after = hift.decode(mel, source)[0, middle * 256 : (middle + 1) * 256]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


def test_nothing_beyond_its_context_reaches_a_pitch(hift: HiftGenerator) -> None:
    mel = torch.randn(1, 80, 31, generator=torch.Generator().manual_seed(0))
    before = hift.f0_predictor(mel)[0, 15]
    mel[:, :, : 15 - CONTEXT_FRAMES] += 5.0
    mel[:, :, 15 + CONTEXT_FRAMES + 1 :] += 5.0
    torch.testing.assert_close(hift.f0_predictor(mel)[0, 15], before, rtol=0, atol=1e-3)


def test_a_small_generator_keeps_up_with_speech() -> None:
    generator = HiftGenerator(
        HiftConfig(base_channels=64, f0_channels=32, resblock_dilation_sizes=((1, 3),) * 3)
    )
    fold_weight_norm(generator)
    mel = torch.randn(1, 80, 86)
    generator.inference(mel, torch.Generator())
    started = time.thread_time()
    generator.inference(mel, torch.Generator())
    assert time.thread_time() - started < 0.5  # for 1 s of sound
