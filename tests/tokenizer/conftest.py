from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tokenizer import golden
from tokenizer.loading import load_tokenizer
from tokenizer.stream import DualCodebookTokenizer


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the published layout; tests do not change it."""
    folder = tmp_path_factory.mktemp("published")
    golden.write_published(folder)
    return folder


@pytest.fixture(scope="session")
def audio_tokenizer(published: Path) -> DualCodebookTokenizer:
    return load_tokenizer(published)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
