"""Adapters: how they begin, and that their files are peft's."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file

from step_audio.core.errors import InputError
from step_audio.engine.step1 import Step1
from step_audio.train import model
from step_audio.train.checkpoints import ADAPTER_CONFIG, Checkpoint
from step_audio.train.lora import ADAPTER_FILE, Lora, adapter_start, is_adapter, merge_adapter
from step_audio.train.workers import TrainingProcesses
from tests.train.tiny_training import write_published

ALONE = TrainingProcesses(torch.device("cpu"))
LORA = Lora(rank=4, alpha=8)

NAMES = [
    f"lm.model.layers.{layer}.{module}.lora_A.default.weight"
    for layer in range(3)
    for module in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
]


def test_no_two_adapters_begin_alike() -> None:
    starts = [adapter_start(name, (4, 32)) for name in NAMES]
    for first, second in combinations(starts, 2):
        similarity = torch.cosine_similarity(first.flatten(), second.flatten(), dim=0)
        assert abs(similarity) < 0.4


def test_adapters_begin_within_pefts_bounds_and_do_nothing() -> None:
    start = adapter_start(NAMES[0], (8, 100))
    assert float(start.abs().max()) <= 0.1
    assert float(start.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.1)
    assert not adapter_start(NAMES[0].replace("lora_A", "lora_B"), (100, 8)).any()
    assert torch.equal(start, adapter_start(NAMES[0], (8, 100)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("base") / "Step-Audio-TTS-3B")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """Adapters that do something, written as training writes them."""
    source = Checkpoint(base)
    scorer = model.build(source, ALONE, bf16=False, lora=LORA)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            if is_adapter(name):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save(scorer, source, tmp_path / "adapter", ALONE, facts={}, lora=LORA)
    return tmp_path / "adapter"


def logits(lm: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = lm(torch.arange(24).view(2, 12))
    return found


def test_peft_reads_the_files_and_says_what_the_merged_model_says(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    source = Checkpoint(base)
    theirs = Step1(source.config)
    theirs.load_state_dict(dict(source.tensors()))
    inject_adapter_in_model(LoraConfig.from_pretrained(str(adapter)), theirs)
    result = set_peft_model_state_dict(theirs, load_file(adapter / ADAPTER_FILE))
    assert not result.unexpected_keys
    merge_adapter(base, adapter, tmp_path / "merged")
    ours = Step1(source.config)
    ours.load_state_dict(dict(Checkpoint(tmp_path / "merged").tensors()))
    torch.testing.assert_close(logits(theirs), logits(ours))


def test_the_scale_is_the_one_the_config_asks_for(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    first = "model.layers.0.self_attn.q_proj.weight"
    before = Checkpoint(base).read(first)
    change = {}
    for stabilised in (False, True):
        path = adapter / ADAPTER_CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": stabilised}))
        merge_adapter(base, adapter, tmp_path / f"merged-{stabilised}")
        change[stabilised] = Checkpoint(tmp_path / f"merged-{stabilised}").read(first) - before
    torch.testing.assert_close(change[True], change[False] * math.sqrt(LORA.rank))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"use_dora": True}, "use_dora cannot be merged here"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"r": 0}, "names no r"),
        ({"lora_alpha": "much"}, "names no r"),
    ],
)
def test_other_adapters_than_these_are_refused(
    base: Path, adapter: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    path = adapter / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(InputError, match=said):
        merge_adapter(base, adapter, tmp_path / "merged")
