"""The plan against the figures that were worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from step_audio.core.errors import InputError
from step_audio.engine.one_card import (
    CARD_EXAMPLES,
    CardExample,
    chat_sizes,
    example_card,
    quantization_of,
    whisper_bytes,
)
from step_audio.engine.plan import (
    AUDIO_IDS_S,
    CONTEXT_BYTES,
    GPUS,
    LINGUISTIC,
    MIXED_IDS_S,
    VOCODER,
    WORK_BYTES,
    Gpu,
    Plan,
    SoundModel,
    beside_bytes,
    gpu_of,
    ids_before_sound,
    plan,
)
from step_audio.engine.sizes import PUBLISHED, Quantization, Sizes

CHAT, TTS = PUBLISHED["step-audio-chat"], PUBLISHED["step-audio-tts-3b"]


def planned(gpu: str, count: int, quantization: Quantization, sessions: int = 1) -> Plan:
    return plan(CHAT, GPUS[gpu], count, quantization, sessions=sessions)


def test_parameters_and_bytes_are_those_of_the_published_models() -> None:
    assert CHAT.parameters == pytest.approx(131.9e9, rel=0.001)
    assert TTS.parameters == pytest.approx(3.5e9, rel=0.01)
    assert CHAT.weight_bytes("bf16") == pytest.approx(263.9e9, rel=0.001)
    assert CHAT.weight_bytes("fp8") == pytest.approx(133.8e9, rel=0.001)
    assert CHAT.weight_bytes("int4") == pytest.approx(71.3e9, rel=0.002)
    assert CHAT.kv_bytes() == 352 * 1024
    assert TTS.kv_bytes() == 32 * 1024
    assert CHAT.kv_bytes(cards=16) == 2 * 352 * 1024  # eight groups on sixteen cards


def test_speech_needs_the_known_pace() -> None:
    assert pytest.approx(41.7, abs=0.05) == AUDIO_IDS_S
    assert pytest.approx(69.4, abs=0.05) == MIXED_IDS_S


@pytest.mark.parametrize(
    ("gpu", "count", "quantization", "ids_s"),
    [
        ("a800", 4, "bf16", 29),
        ("h100", 4, "bf16", 49),
        ("h100", 8, "bf16", 98),
        ("h100", 4, "fp8", 98),
        ("h200", 1, "int4", 70),
    ],
)
def test_the_bandwidth_table_is_reproduced(
    gpu: str, count: int, quantization: Quantization, ids_s: float
) -> None:
    assert planned(gpu, count, quantization).alone_ids_s == pytest.approx(ids_s, rel=0.045)


def test_bf16_on_four_cards_cannot_keep_up_with_its_own_voice() -> None:
    assert not planned("h100", 4, "bf16").keeps_up
    assert planned("h100", 4, "fp8").keeps_up
    assert planned("h100", 8, "bf16").keeps_up


def test_more_sessions_are_slower_and_end_where_the_pace_or_the_memory_does() -> None:
    one, four = planned("h100", 4, "fp8"), planned("h100", 4, "fp8", sessions=4)
    assert four.ids_s < one.ids_s
    assert four.first_audio_ms > one.first_audio_ms
    many = one.max_sessions
    assert planned("h100", 4, "fp8", sessions=many).ids_s >= MIXED_IDS_S
    assert planned("h100", 4, "fp8", sessions=many).keeps_up
    assert not planned("h100", 4, "fp8", sessions=many + 1).keeps_up


def test_what_does_not_fit_says_so() -> None:
    made = planned("h100", 2, "bf16")
    assert not made.fits
    assert made.max_sessions == 0


def test_first_sound_waits_for_text_and_groups() -> None:
    assert ids_before_sound(3, "answer") == 10 + 15
    assert ids_before_sound(4, "answer") == 20 + 20
    assert ids_before_sound(4, "speech") == 20
    assert ids_before_sound(4, "text") == 10


@pytest.mark.parametrize("count", [0, -1, 7])
def test_counts_that_cannot_be_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="cards"):
        planned("h100", count, "bf16")


def test_tied_embeddings_are_read_as_the_head() -> None:
    tied = Sizes(256, 704, 8, 4, 6, 7168, tied=True)
    assert tied.read_bytes("int8") == tied.weight_bytes("int8")
    assert tied.parameters - tied.layer_parameters == 256 * 7168


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("RTX PRO 6000", "rtxpro6000"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("rtx-5090", "rtx5090"),
        ("L4", "l4"),
        ("A10", "a10"),
        ("H200", "h200"),
        ("b200", "b200"),
        ("Rtx4080", "rtx4080"),
    ],
)
def test_cards_are_found_however_they_are_spelled(name: str, key: str) -> None:
    assert gpu_of(name) is GPUS[key]


@pytest.mark.parametrize("name", ["abacus", "", "nvidia", "rtx"])
def test_a_card_without_figures_is_refused_with_those_that_have(name: str) -> None:
    with pytest.raises(InputError, match=r"no figures.*known: a100"):
        gpu_of(name)


def test_the_published_models_of_sound_have_the_parameters_of_their_modules() -> None:
    from tests.bench.tokenizer_full import FULL_SIZE  # noqa: PLC0415 - torch
    from tokenizer.sanm import SanmEncoder  # noqa: PLC0415
    from vocoder.flow import FlowModel  # noqa: PLC0415
    from vocoder.flow_config import FlowConfig  # noqa: PLC0415
    from vocoder.hift import HiftConfig, HiftGenerator  # noqa: PLC0415
    from vocoder.weight_norm import fold_weight_norm  # noqa: PLC0415

    with torch.device("meta"):
        encoder = SanmEncoder(FULL_SIZE)
    cache = FULL_SIZE.num_blocks * FULL_SIZE.look_back_frames * 2 * FULL_SIZE.output_size * 4
    assert sum(p.numel() for p in encoder.parameters()) == LINGUISTIC.parameters
    assert cache < LINGUISTIC.stream_bytes < 1.1 * cache
    flow, hift = FlowModel(FlowConfig()), HiftGenerator(HiftConfig())
    fold_weight_norm(hift)
    made = sum(p.numel() for model in (flow, hift) for p in model.parameters())
    assert made == VOCODER.parameters


def test_models_of_sound_count_by_parameters_streams_and_passes() -> None:
    model = SoundModel("m", 1000, stream_bytes=10, pass_bytes=100, pass_streams=2, on_card=True)
    assert model.memory_bytes(1) == 4000 + 10 + 100
    assert model.memory_bytes(5) == 4000 + 50 + 200
    elsewhere = replace(model, on_card=False)
    assert beside_bytes([model, elsewhere], 1) == 4110 + CONTEXT_BYTES
    assert beside_bytes([elsewhere], 1) == 0


def test_the_vocoder_takes_from_the_cards_what_the_usual_share_does_not_leave() -> None:
    speaks = replace(VOCODER, on_card=True)
    small, large = Gpu(12e9, 1e12, 1e14), Gpu(48e9, 1e12, 1e14)
    without = plan(TTS, small, 1, "bf16")
    beside = plan(TTS, small, 1, "bf16", sound=[speaks])
    assert without.memory_share == 0.9
    assert beside.memory_share < 0.9
    assert beside.kv_tokens < without.kv_tokens
    # A tenth of a large card is enough for it.
    assert plan(TTS, large, 1, "bf16", sound=[speaks]).memory_share == 0.9
    held = TTS.weight_bytes("bf16") + 4096 * TTS.kv_bytes()
    wanted = held + WORK_BYTES + beside_bytes([speaks], 1)
    assert beside.card_bytes == pytest.approx(wanted)
    assert beside.card_bytes < small.memory


@pytest.mark.parametrize(
    ("gigabytes", "quantization", "sessions"),
    [(8, "bf16", 0), (8, "fp8", 1), (12, "bf16", 3), (16, "bf16", 30)],
)
def test_tts_3b_fits_where_the_docs_say(
    gigabytes: int, quantization: Quantization, sessions: int
) -> None:
    """With both vocoders: docs/models.md."""
    card = Gpu(gigabytes * 1e9, 1e12, 1e14)
    speaks = replace(VOCODER, on_card=True, pass_streams=4)
    sings = replace(VOCODER, on_card=True, pass_bytes=0)
    made = plan(TTS, card, 1, quantization, sessions=max(1, sessions), sound=[speaks, sings])
    assert made.max_sessions >= sessions
    assert made.fits is (sessions > 0)


@pytest.mark.parametrize(
    ("name", "quantization", "gb"),
    [
        ("Qwen/Qwen3-8B", "bf16", 16.4),
        ("Qwen/Qwen3-8B-AWQ", "int4", 6.1),
        ("qwen3:8b", "fp8", 9.4),
        ("Qwen/Qwen3-4B", "bf16", 8.0),
        ("qwen3-4b-awq", "int4", 2.7),
        ("Qwen/Qwen2.5-7B-Instruct", "bf16", 15.2),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "int4", 5.6),
    ],
)
def test_chat_models_are_known_by_their_names(
    name: str, quantization: Quantization, gb: float
) -> None:
    sizes = chat_sizes(name)
    assert sizes is not None
    assert sizes.weight_bytes(quantization) / 1e9 == pytest.approx(gb, abs=0.06)


def test_a_models_name_tells_its_format_and_its_size() -> None:
    names = ("Qwen/Qwen3-8B-AWQ", "x-GPTQ-Int4", "Qwen3-8B-FP8", "qwen3:8b")
    assert [quantization_of(name) for name in names] == ["int4", "int4", "fp8", "bf16"]
    assert chat_sizes("mistral:7b") is None
    assert whisper_bytes("large-v3-turbo") == whisper_bytes("/models/faster-whisper-large-v3-turbo")
    assert whisper_bytes("large-v3-turbo") / 1e9 == pytest.approx(1.6, abs=0.05)
    assert whisper_bytes("my-own") == 0


@pytest.mark.parametrize("example", CARD_EXAMPLES, ids=lambda example: f"{example.memory_gb} GB")
def test_what_the_page_lists_for_a_card_fits(example: CardExample) -> None:
    card = example_card(example)
    assert card.fits
    assert sum(engine.memory_share(card.gpu) for engine in card.engines) < 1
