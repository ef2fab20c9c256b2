"""The plan against the figures that were worked out by hand."""

from __future__ import annotations

import pytest

from step_audio.core.errors import InputError
from step_audio.engine.plan import (
    AUDIO_IDS_S,
    GPUS,
    MIXED_IDS_S,
    Plan,
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
