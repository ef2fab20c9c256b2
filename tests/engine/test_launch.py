"""The command of a vLLM server says what Step1 needs, and refuses splits that cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from step_audio.core.errors import InputError
from step_audio.engine.launch import Launch, check_split, serve_arguments
from step_audio.engine.plan import GPUS, plan
from step_audio.engine.sizes import PUBLISHED, sizes_of

LAUNCH = Launch(
    folder=Path("lm"),
    model="m",
    host="127.0.0.1",
    port=8000,
    tensor_parallel=8,
    pipeline_parallel=1,
    quantization=None,
    stop_ids=(3,),
)
CHAT = PUBLISHED["step-audio-chat"]


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_a_server_on_cards_gets_what_step1_needs() -> None:
    arguments = serve_arguments(replace(LAUNCH, quantization="fp8"))
    assert arguments[:2] == ["serve", "lm"]
    assert value(arguments, "--attention-backend") == "TRITON_ATTN"
    assert value(arguments, "--tensor-parallel-size") == "8"
    assert value(arguments, "--quantization") == "fp8"
    assert value(arguments, "--scheduling-policy") == "priority"
    assert value(arguments, "--logits-processors").endswith(":SpeechRules")
    assert json.loads(value(arguments, "--override-generation-config")) == {"eos_token_id": 3}
    assert {"--enable-prefix-caching", "--enable-chunked-prefill"} <= set(arguments)
    assert "--trust-remote-code" not in arguments
    assert "ray" not in arguments


def test_two_nodes_share_the_layers_through_ray() -> None:
    arguments = serve_arguments(replace(LAUNCH, pipeline_parallel=2, ray=True))
    assert value(arguments, "--pipeline-parallel-size") == "2"
    assert value(arguments, "--distributed-executor-backend") == "ray"


@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (8, 1), (16, 1), (8, 2), (4, 88)])
def test_splits_that_work(tp: int, pp: int) -> None:
    check_split(replace(LAUNCH, tensor_parallel=tp, pipeline_parallel=pp), CHAT)


@pytest.mark.parametrize(
    ("tp", "pp", "says"),
    [
        (3, 1, "--tp may be 1, 2, 4, 8, 16"),
        (6, 1, "--tp may be"),
        (8, 89, "smaller --pp"),
        (0, 1, "1 or more"),
    ],
)
def test_splits_that_do_not(tp: int, pp: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_split(replace(LAUNCH, tensor_parallel=tp, pipeline_parallel=pp), CHAT)


def test_a_config_without_sizes_is_named() -> None:
    with pytest.raises(InputError, match="num_attention_heads is None"):
        sizes_of({"hidden_size": 8, "intermediate_size": 8})


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("cards", range(1, 17))
def test_the_plan_allows_what_the_engine_starts_and_nothing_else(name: str, cards: int) -> None:
    starts = plans = True
    try:
        check_split(replace(LAUNCH, tensor_parallel=cards), PUBLISHED[name])
    except InputError as refused:
        starts, why = False, str(refused)
        assert f"over {cards} cards; --tp may be 1, 2, 4" in why
    try:
        plan(PUBLISHED[name], GPUS["h200"], cards, "fp8")
    except InputError as refused:
        plans, why = False, str(refused)
        assert f"over {cards} cards; --count may be 1, 2, 4" in why
    assert starts == plans == (cards in (1, 2, 4, 8, 16))
