"""The SAN-M encoder in batches and at its edges; its numbers: tests/golden_checks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from step_audio.core.errors import ShapeError
from tests.tokenizer import golden
from tokenizer.sanm import SanmConfig, SanmEncoder

ENCODER = golden.encoder()


def recorded(name: str) -> Tensor:
    path = golden.LINGUISTIC / "data.safetensors"
    return torch.from_numpy(golden.arrays(path)[name])


@torch.inference_mode()
def test_clips_of_a_padded_batch_equal_the_clips_alone() -> None:
    feats = [recorded(f"{clip}.feats") for clip in golden.LINGUISTIC_CLIPS]
    lengths = torch.tensor([len(f) for f in feats])
    out = ENCODER(torch.nn.utils.rnn.pad_sequence(feats, batch_first=True), lengths)
    for row, clip in enumerate(golden.LINGUISTIC_CLIPS):
        want = recorded(f"{clip}.enc_out")
        torch.testing.assert_close(out[row, : len(want)], want, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_what_follows_a_chunk_does_not_change_it() -> None:
    feats = recorded("en_1.feats")[None].clone()
    before = ENCODER(feats)
    feats[:, 20:] = 7.0
    torch.testing.assert_close(ENCODER(feats)[:, :20], before[:, :20], rtol=0, atol=0)


def test_names_and_shapes_are_those_of_the_published_model() -> None:
    manifest = golden.facts(golden.LINGUISTIC / "full_size_manifest.json")
    with torch.device("meta"):
        full = SanmEncoder(SanmConfig(512, 4, 2048, 50))
    ours = {f"encoder.{name}": list(t.shape) for name, t in full.state_dict().items()}
    assert ours == manifest["encoder"]
    assert sum(p.numel() for p in full.parameters()) == manifest["params"]


@torch.inference_mode()
def test_a_packed_encoder_computes_the_same() -> None:
    packed = golden.encoder()
    packed.pack()
    feats = recorded("en_1.feats")[None]
    torch.testing.assert_close(packed(feats), ENCODER(feats), rtol=0, atol=1e-5)
    cache = packed.open()
    chunks = [packed.forward_chunk(chunk, cache) for chunk in torch.split(feats, 4, dim=1)]
    torch.testing.assert_close(torch.cat(chunks, dim=1), ENCODER(feats), rtol=0, atol=1e-5)
    assert packed.state_dict().keys() == ENCODER.state_dict().keys()


def test_packed_weights_serve_many_threads() -> None:
    packed = golden.encoder()
    packed.pack()

    @torch.inference_mode()
    def encode(clip: str) -> Tensor:
        out: Tensor = packed(recorded(f"{clip}.feats")[None])[0]
        return out

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encode, golden.LINGUISTIC_CLIPS * 4))
    for clip, out in zip(golden.LINGUISTIC_CLIPS * 4, found, strict=True):
        torch.testing.assert_close(out, recorded(f"{clip}.enc_out"), rtol=0, atol=1e-5)


def test_gradients_reach_the_input_and_every_parameter() -> None:
    model = SanmEncoder(SanmConfig(16, 2, 24, 3), dropout=0.1)
    feats = torch.randn(2, 10, 560, generator=torch.manual_seed(0), requires_grad=True)
    model(feats, torch.tensor([10, 7])).square().sum().backward()
    assert feats.grad is not None
    assert bool(feats.grad[0].abs().sum(1).all())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


@torch.inference_mode()
def test_nothing_follows_a_short_chunk() -> None:
    cache = ENCODER.open()
    ENCODER.forward_chunk(torch.zeros(1, 3, 560), cache)
    with pytest.raises(ShapeError, match="only the last one may be shorter"):
        ENCODER.forward_chunk(torch.zeros(1, 4, 560), cache)


@torch.inference_mode()
def test_no_frames_make_no_frames() -> None:
    assert ENCODER(torch.zeros(1, 0, 560)).shape == (1, 0, 64)


@pytest.mark.parametrize("sizes", [(64, 3, 8, 1), (0, 1, 1, 1), (64, 4, -1, 1)])
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ShapeError):
        SanmConfig(*sizes)
