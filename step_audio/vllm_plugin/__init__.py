"""What vLLM needs to serve Step1: entry point `step1` of the group `vllm.general_plugins`.

vLLM 0.24 brings the model itself (`Step1ForCausalLM`). Missing there: the config class, without
which a folder needs `--trust-remote-code`; attention on the CPU, for tests; the rules of speech
(`logits.py`), which `step-audio engine` names on the command line.
"""

from __future__ import annotations

from typing import Final

CPU_BACKEND: Final = "step_audio.vllm_plugin.attention.AlibiSqrtCpuBackend"


def register() -> None:
    """Make Step1 known; vLLM calls this in each of its processes, perhaps more than once."""
    from transformers import AutoConfig

    from step_audio.engine.hf_config import Step1HfConfig

    AutoConfig.register(Step1HfConfig.model_type, Step1HfConfig, exist_ok=True)

    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.v1.attention.backends.registry import (
            AttentionBackendEnum,
            register_backend,
        )

        # The CPU platform answers CPU_ATTN whatever backend is asked for, so that one is replaced.
        register_backend(AttentionBackendEnum.CPU_ATTN, CPU_BACKEND)
