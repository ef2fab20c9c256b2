"""Flow training: crops, shards, and a run that resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from step_audio.core.errors import InputError
from step_audio.core.types import Pcm, TokenGroup
from step_audio.nano.training import flow as flow_training
from step_audio.nano.training.flow_batches import FlowCrops
from step_audio.nano.training.flow_items import mel_of_groups, prepare, speaker_vector
from step_audio.nano.training.flow_shards import (
    FlowItem,
    read_flow_folder,
    read_flow_shard,
    write_embeddings,
    write_flow_shard,
)
from tests.vocoder.test_stream import tiny_flow
from vocoder.flow import FlowBatch, FlowMatching
from vocoder.flow_config import FlowConfig
from vocoder.flow_loading import load_flow
from vocoder.grid import frames_until


def item(groups: int, seed: int, speaker: str = "a") -> FlowItem:
    rng = np.random.default_rng(seed)
    mel = rng.normal(-5, 2, (frames_until(groups), 80)).astype(np.float16)
    return FlowItem(speaker, rng.integers(0, 1024, (groups, 5)).astype(np.int16), mel)


def folder(path: Path, items: list[FlowItem]) -> Path:
    write_flow_shard(path / "0000.safetensors", items)
    write_embeddings(path, {name: speaker_vector(name) for name in ("a", "b")})
    return path


def tone(seconds: float) -> NDArray[np.int16]:
    t = np.arange(int(16000 * seconds)) / 16000
    wave: NDArray[np.int16] = (9000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
    return wave


def test_shards_give_back_what_was_written(tmp_path: Path) -> None:
    items = [item(5, 1), item(9, 2, "b"), item(4, 3)]
    write_flow_shard(tmp_path / "x.safetensors", items)
    for read, written in zip(read_flow_shard(tmp_path / "x.safetensors"), items, strict=True):
        assert read.speaker == written.speaker
        np.testing.assert_array_equal(read.codes, written.codes)
        np.testing.assert_array_equal(read.mel, written.mel)


def test_folders_that_cannot_be_trained_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"embeddings\.safetensors"):
        read_flow_folder(tmp_path)
    write_embeddings(tmp_path, {"a": speaker_vector("a")})
    with pytest.raises(InputError, match="no flow shards"):
        read_flow_folder(tmp_path)
    write_flow_shard(tmp_path / "0.safetensors", [item(5, 1, "stranger")])
    with pytest.raises(InputError, match="stranger"):
        read_flow_folder(tmp_path)


def test_prepared_mel_lies_under_its_codes(tmp_path: Path) -> None:
    heard: list[int] = []

    def tokenize(pcm: Pcm) -> list[TokenGroup]:
        heard.append(len(pcm))
        return [TokenGroup((1, 2), (3, 4, 5))] * -(-len(pcm) // 1920)

    spoken = [SimpleNamespace(speaker="a", pcm=tone(s)) for s in (0.5, 1.0)]
    write_embeddings(tmp_path, {"a": speaker_vector("a")})
    prepare(lambda shard: spoken[shard : shard + 1], 2, tmp_path, tokenize)
    items, embeddings = read_flow_folder(tmp_path)
    assert [len(i.codes) for i in items] == [5, 9]
    assert [len(i.mel) for i in items] == [frames_until(5), frames_until(9)]
    assert np.linalg.norm(embeddings["a"]) == pytest.approx(1)
    prepare(lambda shard: spoken[shard : shard + 1], 2, tmp_path, tokenize)
    assert len(heard) == 2  # shards that are there are kept


def test_mel_beyond_the_sound_is_silence() -> None:
    mel = mel_of_groups(tone(0.36).astype(np.float32) / np.float32(32768), 6).astype(np.float32)
    assert mel.shape == (frames_until(6), 80)
    assert mel[5:25].max() > 0
    assert mel[38:].max() < -11


def test_crops_align_codes_and_mel(tmp_path: Path) -> None:
    """The mel of each frame says which group it lies in."""
    made = []
    for number in range(3):
        codes = np.tile(np.arange(30, dtype=np.int16)[:, None], (1, 5))
        frame = np.arange(frames_until(30))
        owner = np.searchsorted([frames_until(g) for g in range(1, 31)], frame, side="right")
        mel = np.tile(owner[:, None], (1, 80)).astype(np.float16)
        made.append(FlowItem("ab"[number % 2], codes, mel))
    crops = FlowCrops(folder(tmp_path, made), seed=0, batch_frames=600)
    for _ in range(20):
        batch = crops.next()
        n = batch.tokens.shape[1] // 5
        assert batch.mel.shape[1] == frames_until(n)
        first = batch.tokens.reshape(len(batch.tokens), n, 5)[:, :, 0]
        semantic = batch.tokens.reshape(len(batch.tokens), n, 5)[:, :, 4]
        assert torch.equal(semantic, first + 1024)
        for g in range(n):  # a crop's frames may slip by one against the stream's
            middle = (frames_until(g) + frames_until(g + 1)) // 2
            assert torch.equal(batch.mel[:, middle, 0].long(), first[:, g])
        assert bool((batch.known < 0.6 * frames_until(n)).all())


def test_loss_falls_to_the_floor_when_there_is_one_thing_to_learn() -> None:
    torch.manual_seed(0)
    flow = tiny_flow()
    optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
    batch = FlowBatch(
        torch.zeros(8, 20, dtype=torch.int64),
        torch.full((8, 41, 80), 1.0),
        torch.ones(8, 192),
        torch.zeros(8, dtype=torch.int64),
    )
    losses = []
    for _ in range(60):
        loss = flow.loss(batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize("dropped", [0.0, 1.0])
def test_guidance_is_learned_where_the_velocity_leads_the_free_one_by_it(dropped: float) -> None:
    torch.manual_seed(0)
    config = replace(tiny_flow().config, training_cfg_rate=dropped)
    matching, strength, mel = FlowMatching(config), 0.7, torch.full((4, 80, 12), 1.5)

    class Ideal(torch.nn.Module):
        """Leads as asked when it sees tokens; what it is trained on when it sees none."""

        def forward(self, x: Tensor, _: Tensor, mu: Tensor, t: Tensor, **given: Tensor) -> Tensor:
            wanted = (mel - x) / (1 - t[:, None, None])
            free = wanted if dropped else torch.full_like(x, 0.3)
            leading = (1 + strength) * wanted - strength * free
            return torch.where(mu.abs().sum((1, 2), keepdim=True) > 0, leading, free)

    matching.estimator = Ideal()  # type: ignore[assignment]
    parts = torch.ones(4, 80, 12), torch.ones(4, 80), torch.ones(4, 80, 12), torch.ones(4, 1, 12)
    guided = matching.loss(mel, *parts, guidance=strength)
    assert float(guided) < 1e-6
    assert dropped or float(matching.loss(mel, *parts)) > 0.1


def test_known_frames_do_not_count() -> None:
    torch.manual_seed(0)
    flow = tiny_flow()
    mel = torch.zeros(1, 41, 80)
    mel[:, :40] = 1e3  # all but the last frame known, and far off
    batch = FlowBatch(
        torch.zeros(1, 20, dtype=torch.int64), mel, torch.ones(1, 192), torch.tensor([40])
    )
    assert float(flow.loss(batch).detach()) < 1e6


@pytest.mark.slow
def test_a_run_resumes_and_leaves_a_model_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny: FlowConfig = tiny_flow().config
    monkeypatch.setattr(flow_training, "nano_flow", lambda: tiny)
    data = folder(tmp_path / "data", [item(6, n) for n in range(8)])
    command = ["--data", str(data), "--out", str(tmp_path / "out"), "--device", "cpu"]
    flow_training.main([*command, "--steps", "2", "--batch-frames", "100"])
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
    flow_training.main([*command, "--steps", "4", "--batch-frames", "100"])
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 4
    flow = load_flow(tmp_path / "out" / "flow.safetensors")
    assert flow.config.mel_mean == pytest.approx(-5, abs=0.2)
