"""A tiny Step1 on a vLLM with Triton's kernels and CUDA graphs, against the local engine.

Needs an environment with vLLM's CUDA build, VLLM_CUDA (make test-gpu names build/vllm-cuda).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from step_audio.core.types import Form
from step_audio.engine.local import LocalEngine
from step_audio.engine.weights import load_step1
from tests.vllm_server.conftest import TINY, home, nano_profile, tiny_lm  # noqa: F401 - fixtures
from tests.vllm_server.process import VllmProcess
from tests.vllm_server.test_engine import engine_of, ids_of, never_garbled, prompts, request

PROGRAM = Path(os.environ.get("VLLM_CUDA", "build/vllm-cuda")).absolute() / "bin" / "vllm"

FORMS: tuple[Form | None, ...] = (None, "answer")

pytestmark = [
    pytest.mark.cuda_only,
    pytest.mark.timeout(420),
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs vLLM's CUDA build in build/vllm-cuda"),
]


async def test_a_tiny_step1_writes_with_triton_what_it_writes_here(
    home: Path,  # noqa: F811
    tiny_lm: Path,  # noqa: F811
) -> None:
    """Served in bfloat16: where two ids are nearly as likely, another may come, and then others.

    So the first four ids of an answer are compared, and one answer of eight may differ.
    """
    profile = nano_profile(home / "triton.yaml", "http://127.0.0.1:1")
    server = VllmProcess(tiny_lm, profile, home / "triton.log", program=PROGRAM)
    server.start()
    local = LocalEngine(load_step1(tiny_lm).decoder("float32"), TINY)
    remote = engine_of(server, TINY)
    try:
        same = 0
        for prompt in prompts(TINY):
            for form in FORMS:
                asked = request(prompt, TINY.eot, form=form, most=4)
                same += await ids_of(remote, asked) == await ids_of(local, asked)
        await never_garbled(server)
    finally:
        await local.aclose()
        await remote.aclose()
        server.kill()
    log = (home / "triton.log").read_text(errors="replace")
    assert "TRITON_ATTN" in log
    assert same >= 7
