"""The client of chat servers against a real vLLM on the CPU. Needs make test-vllm's environment."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from step_audio.core.chat import ChatEvent, ChatMessage, ChatModelRequest, ChatUsage
from step_audio.core.ports import ToolSpec
from step_audio.core.types import SamplingParams, TextDelta, ToolCall
from step_audio.endpoints.chat import ChatCompletions
from step_audio.endpoints.connection import Endpoint
from tests.vllm_server.process import ROOT, VLLM, free_port

HERE = Path(__file__).parent
START_S = 600.0
TIME = ToolSpec(
    "get_time",
    "Tell the time.",
    {"type": "object", "properties": {}, "additionalProperties": False},
)
ASK = (ChatMessage("system", "Be brief."), ChatMessage("user", "What time is it?"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not VLLM.exists(), reason="make test-vllm makes its environment"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("vllm")
    python = str(VLLM.with_name("python"))
    environ = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "auto",
        "TORCHDYNAMO_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    script = [python, str(HERE / "tiny_qwen.py"), str(home / "tiny")]
    subprocess.run(script, check=True, env=environ, cwd=ROOT, timeout=300)
    port = free_port()
    command = [str(VLLM), "serve", str(home / "tiny"), "--served-model-name", "tiny"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "2048", "--enforce-eager", "--max-num-seqs", "4"]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    told = ROOT / "build" / "any-chat" / "vllm.log"
    told.parent.mkdir(parents=True, exist_ok=True)
    log = told.open("wb")
    process = subprocess.Popen(
        command, env=environ, cwd=home, stdout=log, stderr=log, start_new_session=True
    )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, told.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"vLLM does not answer: see {told}"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        log.close()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


async def reply(url: str, request: ChatModelRequest) -> tuple[list[ChatEvent], ChatCompletions]:
    chat = ChatCompletions(Endpoint(url), "tiny", first_word_timeout_s=120)
    try:
        return [event async for event in chat.reply(request)], chat
    finally:
        await chat.aclose()


async def test_a_stream_with_its_usage_and_its_limit(url: str) -> None:
    events, chat = await reply(url, ChatModelRequest(ASK, SamplingParams(max_tokens=24, seed=1)))
    assert any(isinstance(event, TextDelta) for event in events)
    usage = events[-1]
    assert isinstance(usage, ChatUsage)
    assert usage.read > 20
    assert usage.written <= 24
    assert usage.cut_off is (usage.written == 24)
    assert not chat.habits.refused


async def test_the_first_model_that_is_listed_is_taken(url: str) -> None:
    chat = ChatCompletions(Endpoint(url), "", first_word_timeout_s=120)
    assert await chat.ready()
    assert chat.model == "tiny"
    await chat.aclose()


async def test_tools_go_through_the_template_and_a_required_one_is_called(url: str) -> None:
    sampling = SamplingParams(max_tokens=200, temperature=0.0)
    request = ChatModelRequest(ASK, sampling, (TIME,), "required", "get_time")
    events, chat = await reply(url, request)
    (call,) = [event for event in events if isinstance(event, ToolCall)]
    assert call.name == "get_time"
    assert not chat.habits.refused
    told = (
        *ASK,
        ChatMessage("assistant", calls=(ToolCall(call.call_id, "get_time", "{}"),)),
        ChatMessage("tool", '{"time":"noon"}', call_id=call.call_id),
    )
    events, chat = await reply(url, ChatModelRequest(told, SamplingParams(max_tokens=8), (TIME,)))
    assert isinstance(events[-1], ChatUsage)
    assert not chat.habits.refused


async def test_closing_an_answer_aborts_it_in_the_server(url: str) -> None:
    extra = {"ignore_eos": True}  # it would write on to its limit
    chat = ChatCompletions(Endpoint(url), "tiny", first_word_timeout_s=120, extra_body=extra)
    metrics = url.removesuffix("/v1") + "/metrics"
    async with httpx.AsyncClient(trust_env=False) as client:

        async def measured(name: str) -> float:
            text = (await client.get(metrics)).text
            line = next(line for line in text.splitlines() if line.startswith(f"vllm:{name}{{"))
            return float(line.split()[-1])

        before = await measured("generation_tokens_total")
        request = ChatModelRequest(ASK, SamplingParams(max_tokens=1900, temperature=1.0))
        async with aclosing(chat.reply(request)) as events:
            async for _ in events:
                break
        for _ in range(100):
            if await measured("num_requests_running") == 0:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the request still runs")
        assert await measured("generation_tokens_total") - before < 1900
    await chat.aclose()
