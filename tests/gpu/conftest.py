"""The device of these tests, and why they are left out where there is none."""

from __future__ import annotations

import os

import pytest
import torch

DEVICE = os.environ.get("STEP_AUDIO_TEST_DEVICE", "cuda")
NO_CUDA = "needs a CUDA device (make test-gpu DEVICE=cpu runs them on the CPU)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name != "gpu":
            continue
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available() and (
            DEVICE.startswith("cuda") or item.get_closest_marker("cuda_only")
        ):
            item.add_marker(pytest.mark.skip(reason=NO_CUDA))


@pytest.fixture(scope="session")
def device() -> str:
    return DEVICE
