"""The rules of one request as plain values: written by the client, read inside vLLM.

No PyTorch here: the gateway writes them. What they do to logits: vllm_plugin/rows.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from step_audio.core.errors import InputError
from step_audio.engine.grammar import Grammar, from_args, to_args

_WINDOW: Final = "repetition_window"
_LONGEST: Final = 1000


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be drawn.

    Attributes:
        grammar: which ids may follow; None for any.
        repetition_window: as in `SamplingParams`; 0 for no ban.
    """

    grammar: Grammar | None = None
    repetition_window: int = 0


def write_rules(rules: Rules) -> dict[str, str | int]:
    """Return the values that `read_rules` reads; none at all for a request without rules."""
    values = to_args(rules.grammar) if rules.grammar else {}
    return values | ({_WINDOW: rules.repetition_window} if rules.repetition_window else {})


def read_rules(values: Mapping[str, object], vocab_size: int) -> Rules:
    """Return the rules among a request's extra values.

    Args:
        values: from the wire; names that are no rules are left alone.
        vocab_size: of the model.

    Raises:
        InputError: a value that is no rule; the message names it.
    """
    window = values.get(_WINDOW, 0)
    if type(window) is not int or not 0 <= window <= _LONGEST:
        raise InputError(f"{_WINDOW} is {window!r}, expected 0 to {_LONGEST}")
    return Rules(from_args(values, vocab_size), window)
