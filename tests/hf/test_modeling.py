"""Step1 under `transformers` says what the engine says: goldens, a random model, nano's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

import step_audio
import step_audio.hf
from step_audio.core.errors import WeightsError
from step_audio.engine.step1 import Step1
from step_audio.engine.weights import load_step1
from step_audio.hf import Step1ForCausalLM
from step_audio.train.checkpoints import Checkpoint
from tests.train.tiny_training import CONFIG, write_published

GOLDEN = Path(__file__).parents[1] / "golden" / "lm_step1"
DATA = load_file(GOLDEN / "data.safetensors")
NANO = Path(step_audio.__file__).parent / "weights" / "nano" / "lm"
WAYS = ("eager", "sdpa")
IDS = 1 + torch.arange(48).view(2, 24) % (CONFIG.vocab_size - 1)  # 0 is padding


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as published: shards, and code of its own that nobody may run."""
    folder = write_published(tmp_path_factory.mktemp("hf") / "Step-Audio-TTS-3B")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_step1.Step1Config",
        "AutoModelForCausalLM": "modeling_step1.Step1ForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_step1.py").write_text("raise SystemExit('remote code ran')")
    (folder / "configuration_step1.py").write_text("raise SystemExit('remote code ran')")
    return folder


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("golden")
    shutil.copy(GOLDEN / "weights.safetensors", folder / "model.safetensors")
    config = json.loads((GOLDEN / "config.json").read_text()) | {"model_type": "step1"}
    (folder / "config.json").write_text(json.dumps(config))
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def tiny(published: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(published)


@pytest.fixture(scope="module")
def ours(published: Path) -> Step1:
    return load_step1(published).module().eval()


@pytest.mark.parametrize("way", WAYS)
@torch.inference_mode()
def test_recorded_logits_come_out(golden: Any, way: str) -> None:
    golden.set_attn_implementation(way)
    names = [name.removesuffix(".logits") for name in DATA if name.endswith(".logits")]
    assert names
    for name in names:
        ids, wanted = DATA[f"{name}.ids"], DATA[f"{name}.logits"]
        got = golden(ids if ids.dim() == 2 else ids[None]).logits
        got = got if ids.dim() == 2 else got[0]
        torch.testing.assert_close(got[..., -wanted.shape[-2] :, :], wanted, atol=2e-4, rtol=1e-4)


def test_recorded_greedy_ids_come_out_of_generate(golden: Any) -> None:
    prompt, wanted = DATA["greedy.prompt"], DATA["greedy.ids"]
    got = golden.generate(
        prompt[None], max_new_tokens=len(wanted) - len(prompt), do_sample=False, eos_token_id=None
    )
    assert got[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("way", WAYS)
@torch.inference_mode()
def test_logits_and_gradients_are_the_engines(tiny: Any, ours: Step1, way: str) -> None:
    tiny.set_attn_implementation(way)
    torch.testing.assert_close(tiny(IDS).logits, ours(IDS), atol=1e-4, rtol=1e-4)
    with torch.inference_mode(False):
        labels = IDS.clone()
        labels[:, :5] = -100
        loss = tiny(IDS.clone(), labels=labels).loss
        logits = ours(IDS.clone())[:, 4:-1]
        wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 5:].flatten())
        torch.testing.assert_close(loss, wanted)
        torch.autograd.backward([loss, wanted])
        theirs = dict(tiny.named_parameters())
        for name, parameter in ours.named_parameters():
            torch.testing.assert_close(theirs[name].grad, parameter.grad, atol=1e-5, rtol=1e-3)
        tiny.zero_grad()
        ours.zero_grad()


@pytest.mark.parametrize("way", WAYS)
@torch.inference_mode()
def test_padding_on_either_side_changes_nothing(tiny: Any, ours: Step1, way: str) -> None:
    tiny.set_attn_implementation(way)
    mask = torch.ones_like(IDS)
    mask[1, :9] = 0
    left = tiny(IDS, attention_mask=mask).logits
    assert left.isfinite().all()
    torch.testing.assert_close(left[1, 9:], ours(IDS[1:, 9:])[0], atol=1e-4, rtol=1e-4)
    right = tiny(IDS, attention_mask=mask.flip(1)).logits
    torch.testing.assert_close(right[1, :15], ours(IDS[1:, :15])[0], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_sequences_of_a_packed_row_do_not_see_each_other(tiny: Any, ours: Step1) -> None:
    places = torch.cat([torch.arange(10), torch.arange(14)])[None]
    got = tiny(IDS[:1], position_ids=places).logits
    torch.testing.assert_close(got[0, :10], ours(IDS[:1, :10])[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got[0, 10:], ours(IDS[:1, 10:])[0], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_cache_in_pieces_and_a_static_one_say_the_same(tiny: Any, ours: Step1) -> None:
    found = tiny(IDS[:, :10], use_cache=True)
    rest = tiny(IDS[:, 10:], past_key_values=found.past_key_values).logits
    torch.testing.assert_close(rest, ours(IDS)[:, 10:], atol=1e-4, rtol=1e-4)
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    grown = tiny.generate(IDS, **options)
    static = tiny.generate(IDS, cache_implementation="static", **options)
    assert grown.tolist() == static.tolist()
    mask = torch.ones_like(IDS)
    mask[0, :9] = 0
    padded = tiny.generate(IDS, attention_mask=mask, **options)
    alone = tiny.generate(IDS[:1, 9:], **options)
    assert padded[0, 24:].tolist() == alone[0, 15:].tolist()


def test_no_code_of_the_folder_runs_and_what_is_saved_is_the_published_layout(
    published: Path, tiny: Any, tmp_path: Path
) -> None:
    assert type(tiny) is Step1ForCausalLM
    tiny.save_pretrained(tmp_path / "saved", max_shard_size="30KB")
    assert (tmp_path / "saved" / "model.safetensors.index.json").is_file()
    before, after = Checkpoint(published), Checkpoint(tmp_path / "saved")
    assert after.config == before.config
    for name, tensor in before.tensors():
        assert torch.equal(after.read(name), tensor)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.inference_mode():
        assert torch.equal(again(IDS).logits, tiny(IDS).logits)


@torch.inference_mode()
def test_nanos_packed_weights_load_and_answer_as_the_engine_does() -> None:
    model = AutoModelForCausalLM.from_pretrained(NANO)
    weights = load_step1(NANO)
    ids = 1 + torch.arange(60)[None] * 97 % (model.config.vocab_size - 1)
    theirs = weights.module()(ids)
    torch.testing.assert_close(model(ids).logits, theirs, atol=5e-4, rtol=1e-4)
    drawn = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)[0].tolist()
    decoder = weights.decoder()
    cache, wanted, fed = decoder.new_cache(), ids[0].tolist(), 0
    for _ in range(8):
        hidden = decoder.extend(torch.tensor([wanted[fed:]]), [cache])
        fed = len(wanted)
        wanted.append(int(decoder.logits(hidden[:, -1])[0].argmax()))
    assert drawn == wanted


def test_tied_weights_stay_tied_and_are_saved_once(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "step1",
        **{"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2},
        **{"num_attention_groups": 1, "num_hidden_layers": 1, "vocab_size": 40},
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert load_step1(tmp_path).config.tie_word_embeddings


def test_gradient_checkpointing_changes_no_gradient(tiny: Any) -> None:
    def gradient() -> torch.Tensor:
        tiny.train()
        tiny.zero_grad()
        torch.autograd.backward(tiny(IDS, labels=IDS).loss)
        found: torch.Tensor = tiny.model.layers[0].self_attn.q_proj.weight.grad.clone()
        return found

    plain = gradient()
    tiny.activation_checkpointing_enable()
    kept = gradient()
    tiny.activation_checkpointing_disable()
    tiny.zero_grad()
    tiny.eval()
    torch.testing.assert_close(kept, plain)


def test_a_head_for_scores_reads_the_last_id_that_is_no_padding(published: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(published, num_labels=1)
    mask = torch.ones_like(IDS)
    mask[0, 20:] = 0
    ids = IDS.masked_fill(mask == 0, 0)
    with torch.inference_mode():
        got = model(ids, attention_mask=mask).logits
        alone = model(ids[:1, :20]).logits
    assert got.shape == (2, 1)
    torch.testing.assert_close(got[:1], alone, atol=1e-5, rtol=1e-4)


def test_wrong_sizes_and_inputs_are_refused(tiny: Any) -> None:
    with pytest.raises(WeightsError, match="num_attention_heads"):
        AutoModelForCausalLM.from_config(
            AutoConfig.for_model(
                "step1",
                **{"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 3},
                **{"num_attention_groups": 1, "num_hidden_layers": 1, "vocab_size": 40},
            )
        )
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        tiny.model()
