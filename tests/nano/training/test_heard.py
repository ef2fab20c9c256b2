"""What the encoder hears is handed to the LM whole, in order, and not kept for ever."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from step_audio.nano.corpus.corpus import CorpusUtterance
from step_audio.nano.domain import generate
from step_audio.nano.training.heard import PATTERN, HeardWriter, read_heard

SOUND = np.zeros(16, dtype=np.int16)


def test_codes_text_and_question_come_back(tmp_path: Path) -> None:
    sample = generate(random.Random(1), "train")
    said = (
        CorpusUtterance("one two", "flite-rms", SOUND),
        CorpusUtterance("?", "noise", SOUND, sample),
    )
    writer = HeardWriter(tmp_path, size=2)
    writer.add(said, torch.arange(14).reshape(2, 7), torch.tensor([7, 4]))
    items, samples = read_heard(tmp_path / "heard-00000.safetensors")
    assert [item.text for item in items] == ["one two", "?"]
    assert items[0].codes[:, :2].tolist() == [[0, 1], [2, 3], [4, 5]]  # the odd frame is no group
    assert items[1].codes[:, :2].tolist() == [[7, 8], [9, 10]]
    assert not items[0].codes[:, 2:].any()
    assert samples == [None, sample]


def test_old_shards_go_and_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        writer = HeardWriter(tmp_path, size=1, kept=3)
        for _ in range(3):
            said = (CorpusUtterance("one", "flite-rms", SOUND),)
            writer.add(said, torch.zeros(1, 4, dtype=torch.long), torch.tensor([4]))
    assert [path.stem for path in sorted(tmp_path.glob(PATTERN))] == [
        f"heard-0000{n}" for n in (3, 4, 5)
    ]
    assert len(list(tmp_path.iterdir())) == 9
