"""A trained reward model as a reward: what `docs/examples/reward.py` made scores whole answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import step_audio.hf  # noqa: F401 - makes Step1 known to the Auto classes
from step_audio.core.errors import InputError


class RewardModel:
    """Scores prompt and answer, ids in; the larger the better, of no fixed range.

    Args:
        folder: of a `Step1ForSequenceClassification` with one label.
        device: where it computes.

    Raises:
        InputError: no such model.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - seconds

        try:
            model = AutoModelForSequenceClassification.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds no reward model: {error}") from None
        if model.config.num_labels != 1:
            raise InputError(f"{folder} tells {model.config.num_labels} classes, not one score")
        self._model = model.to(device).eval()

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> float:
        """Return the score of an answer that follows a prompt."""
        ids = torch.tensor([[*prompt, *answer]], device=self._model.device)
        with torch.no_grad():
            logits = self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return float(logits[0, 0])
