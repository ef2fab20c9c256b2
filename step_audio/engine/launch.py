"""How `vllm serve` is started for Step1: the arguments, and what must hold before.

Pure: `step-audio engine` prints and runs what is returned here. Checked against vLLM 0.24.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from step_audio.core.errors import InputError
from step_audio.engine.sizes import Sizes

RULES: Final = "step_audio.vllm_plugin.logits:SpeechRules"
QUIET: Final = {"VLLM_NO_USAGE_STATS": "1"}
"""Added to the server's environment: it reports to nobody."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a server is to be.

    Attributes:
        folder: of the LM, with `config.json`.
        model: name to serve it under.
        host, port: where it listens.
        tensor_parallel: cards of one node that share each layer.
        pipeline_parallel: groups of cards, usually nodes, that share the layers.
        quantization: of the weights while they are loaded, such as "fp8"; None: as they are.
        stop_ids: end of a turn and what else ends any answer.
        context: most ids of prompt and answer; None: as many as the model has.
        memory: share of each card's memory that it may fill, such as 0.8; None: vLLM's own (0.9).
        ray: several nodes, joined by `ray start` before.
        cpu: on the CPU, slowly: for tests.
    """

    folder: Path
    model: str
    host: str
    port: int
    tensor_parallel: int
    pipeline_parallel: int
    quantization: str | None
    stop_ids: tuple[int, ...]
    context: int | None = None
    memory: float | None = None
    ray: bool = False
    cpu: bool = False


def check_split(launch: Launch, sizes: Sizes) -> None:
    """Raise InputError unless a model of these sizes can be split so over the cards."""
    tp, pp = launch.tensor_parallel, launch.pipeline_parallel
    if tp < 1 or pp < 1:
        raise InputError("--tp and --pp count cards; give 1 or more")
    sizes.check_cards(tp, "--tp")
    if pp > sizes.layers:
        raise InputError(
            f"{sizes.layers} layers cannot be split into {pp} parts; use a smaller --pp"
        )


def serve_arguments(launch: Launch) -> list[str]:
    """Return the arguments behind `vllm`."""
    arguments = ["serve", str(launch.folder), "--served-model-name", launch.model]
    arguments += ["--host", launch.host, "--port", str(launch.port)]
    arguments += ["--tensor-parallel-size", str(launch.tensor_parallel)]
    if launch.pipeline_parallel > 1:
        arguments += ["--pipeline-parallel-size", str(launch.pipeline_parallel)]
    if launch.ray:
        arguments += ["--distributed-executor-backend", "ray"]
    if launch.quantization:
        arguments += ["--quantization", launch.quantization]
    if launch.memory is not None:
        if not 0 < launch.memory <= 1:
            raise InputError(f"--memory is {launch.memory:g}; give a share above 0, at most 1")
        arguments += ["--gpu-memory-utilization", f"{launch.memory:g}"]
    if launch.context:
        arguments += ["--max-model-len", str(launch.context)]
    if launch.cpu:
        # Its one attention backend is replaced by the plugin; short prefixes count in tests.
        arguments += ["--enforce-eager", "--dtype", "float32", "--block-size", "32"]
        arguments += ["--max-num-seqs", "8", "--max-num-batched-tokens", "2048"]
    else:
        # The only one with the square root; vLLM's choice does not look at that.
        arguments += ["--attention-backend", "TRITON_ATTN", "--dtype", "bfloat16"]
    # Ids in, ids out: the server needs no tokenizer, and published ones would run their own code.
    arguments += ["--skip-tokenizer-init"]
    stops = launch.stop_ids[0] if len(launch.stop_ids) == 1 else list(launch.stop_ids)
    # A folder's defaults would change requests; without a tokenizer nobody knows a turn's end.
    arguments += ["--generation-config", "vllm"]
    arguments += ["--override-generation-config", json.dumps({"eos_token_id": stops})]
    arguments += ["--enable-prefix-caching", "--enable-chunked-prefill"]
    arguments += ["--scheduling-policy", "priority", "--logits-processors", RULES]
    return [*arguments, "--disable-uvicorn-access-log"]
