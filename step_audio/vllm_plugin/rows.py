"""One request's row of logits under its rules, with the functions of the local engine.

Needs PyTorch, not vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from step_audio.core.errors import TokenError
from step_audio.engine.grammar import Grammar, Position, State
from step_audio.engine.rules import Rules
from step_audio.engine.sampling import forbid, repeated_id


class RuledRow:
    """Follows the ids drawn for one request and says what may come next."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._place: State = Position.START
        self._read = 0

    def __call__(self, prompt: Sequence[int], drawn: Sequence[int], logits: Tensor) -> Tensor:
        """Return (V,) logits that are -inf for what may not follow `prompt` + `drawn`."""
        if self._rules.grammar is not None:
            logits = self._restricted(self._rules.grammar, drawn, logits)
        banned = self._banned(prompt, drawn)
        return logits if banned is None else forbid(logits, banned)

    def _banned(self, prompt: Sequence[int], drawn: Sequence[int]) -> int | None:
        window = self._rules.repetition_window
        if not window:
            return None
        recent = list(drawn[-window:])
        missing = window - len(recent)
        return repeated_id([*prompt[-missing:], *recent] if missing else recent, window)

    def _restricted(self, grammar: Grammar, drawn: Sequence[int], logits: Tensor) -> Tensor:
        try:
            self._place = grammar.after(drawn[self._read :], self._place)
        except TokenError:
            # Only something besides these rules can have chosen such an id: let the turn end.
            self._place = Position.END
        self._read = len(drawn)
        end = grammar.vocab.eot
        kept = torch.full_like(logits, -torch.inf)
        # A row without any id would become NaN and take the whole batch with it.
        for low, high in grammar.allowed(self._place) or ((end, end + 1),):
            kept[low:high] = logits[low:high]
        return kept
