"""Step1 with the recorded weights; the reference's numbers: tests/golden_checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from step_audio.core.errors import ShapeError, WeightsError
from step_audio.engine.step1 import Step1, Step1Config

GOLDEN = Path(__file__).parents[1] / "golden" / "lm_step1"
DATA = load_file(GOLDEN / "data.safetensors")


@pytest.fixture(scope="module")
def model() -> Step1:
    built = Step1(Step1Config.from_mapping(json.loads((GOLDEN / "config.json").read_text())))
    built.load_state_dict(load_file(GOLDEN / "weights.safetensors"))  # strict: published names
    return built.eval()


def test_embeddings_given_from_outside_replace_the_table(model: Step1) -> None:
    ids = DATA["c2.ids"][None]
    with torch.inference_mode():
        rows = model.model.embed_tokens(ids)
        assert torch.equal(model.hidden(inputs_embeds=rows), model.hidden(ids))


def test_every_weight_gets_a_gradient_also_under_bf16_autocast(model: Step1) -> None:
    ids = DATA["batch.ids"]
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
    torch.autograd.backward([loss])
    grads = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    assert all(g is not None and g.abs().max() > 0 for g in grads.values())


def test_tied_embeddings_have_no_head_of_their_own() -> None:
    config = Step1Config(16, 32, 2, 1, 1, 24, tie_word_embeddings=True)
    tied = Step1(config)
    assert not [name for name in tied.state_dict() if name.startswith("lm_head")]
    assert tied(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, 24)


def test_initial_weights_depend_on_the_generator_only() -> None:
    config = Step1Config(16, 32, 2, 1, 2, 24)
    one, two = Step1(config), Step1(config)
    one.initialize(torch.Generator().manual_seed(5))
    two.initialize(torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_bias_cache_is_bounded(model: Step1) -> None:
    for length in range(1, 20):
        model.biases(length, torch.float32, torch.device("cpu"))
    assert len(model._biases) <= 4


def test_hidden_refuses_wrong_inputs(model: Step1) -> None:
    with pytest.raises(ShapeError, match="either ids or inputs_embeds"):
        model.hidden()
    with pytest.raises(ShapeError, match=r"expected \(B, T, 64\)"):
        model.hidden(inputs_embeds=torch.zeros(1, 3, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 5}, "not a multiple of num_attention_heads"),
        ({"num_attention_groups": 3}, "not a multiple of num_attention_groups"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], message: str) -> None:
    good = json.loads((GOLDEN / "config.json").read_text())
    with pytest.raises(WeightsError, match=message):
        Step1Config.from_mapping(good | change)


def test_a_missing_size_is_named() -> None:
    with pytest.raises(WeightsError, match=r"missing.*'vocab_size'"):
        Step1Config.from_mapping({"hidden_size": 8})
