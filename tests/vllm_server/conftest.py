"""Folders and servers of the tests that need a real vLLM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from step_audio.cli import main
from step_audio.core.config import load_profile
from step_audio.core.vocab import Vocab
from step_audio.core.weights import Facts, write_facts
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import save_step1
from tests.vllm_server.process import ROOT, VLLM, VllmProcess

TINY = Vocab(audio_base=600, heard_open=5, heard_close=6, call=7)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "vllm_server" in item.nodeid:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(1800))
            if not VLLM.exists():
                item.add_marker(pytest.mark.skip(reason="no build/vllm: make test-vllm makes it"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # When CI's time is up: end as by Ctrl-C, so that no server is left behind.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="session")
def nano_lm(home: Path) -> Path:
    """nano's LM with whole weights, by the command."""
    folder = home / "nano-lm"
    assert main(["export", str(folder), "--precision", "float32"]) == 0
    return folder


@pytest.fixture(scope="session")
def tiny_lm(home: Path) -> Path:
    """Random weights in the published layout: untied, two groups, six heads, three layers."""
    config = Step1Config(
        hidden_size=192,
        intermediate_size=256,
        num_attention_heads=6,
        num_attention_groups=2,
        num_hidden_layers=3,
        vocab_size=TINY.size + 8,
        max_seq_len=2048,
    )
    model = Step1(config)
    model.initialize(torch.Generator().manual_seed(1), std=0.2)
    folder = home / "tiny-lm"
    save_step1(folder, config, model.state_dict())
    write_facts(home, Facts(TINY, 2048))
    return folder


def nano_profile(path: Path, *urls: str) -> Path:
    """Write nano's profile with its LM behind vLLM."""
    profile = yaml.safe_load((ROOT / "step_audio/profiles/nano.yaml").read_text())
    profile["weights"] = str(load_profile("nano").weights)
    profile["engine"] = {"kind": "vllm", "url": list(urls), "model": "lm"}
    profile["engine"] |= {"first_token_timeout_s": 8.0, "next_token_timeout_s": 3.0}
    path.write_text(yaml.safe_dump(profile))
    return path


def started(home: Path, folder: Path, name: str, tensor_parallel: int = 1) -> VllmProcess:
    profile = nano_profile(home / f"{name}.yaml", "http://127.0.0.1:1")
    server = VllmProcess(folder, profile, home / f"{name}.log", tensor_parallel)
    server.start()
    return server


@pytest.fixture(scope="session")
def nano_server(home: Path, nano_lm: Path) -> Iterator[VllmProcess]:
    server = started(home, nano_lm, "nano")
    yield server
    server.kill()
