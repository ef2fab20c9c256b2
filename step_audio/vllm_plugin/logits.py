"""The logits processor that `vllm serve --logits-processors` loads.

Named on the command line, not by an entry point: only then does vLLM 0.24 give processors the
drawn ids under asynchronous scheduling, where they are placeholders otherwise.
"""

from __future__ import annotations

import logging
from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from step_audio.core.errors import StepAudioError
from step_audio.engine.rules import Rules, read_rules
from step_audio.vllm_plugin.rows import RuledRow

_LOG = logging.getLogger(__name__)
_ANY_VOCAB = 2**31


class SpeechRules(AdapterLogitsProcessor):
    """Applies the rules in a request's `vllm_xargs` (engine/rules.py); others pass untouched."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._vocab_size = vllm_config.model_config.get_vocab_size()

    @classmethod
    def validate_params(cls, params: Any) -> None:
        """Refuse what is no rule while it can still be a status 400."""
        try:
            read_rules(params.extra_args or {}, _ANY_VOCAB)
        except StepAudioError as error:
            raise ValueError(str(error)) from None

    def is_argmax_invariant(self) -> bool:
        """Greedy requests keep the rules too."""
        return False

    def new_req_logits_processor(self, params: Any) -> RuledRow | None:
        """Return what follows one request, None for one without rules."""
        try:
            rules = read_rules(params.extra_args or {}, self._vocab_size)
        except StepAudioError as error:
            # Rules of another vocabulary. Raising here would stop the engine for everybody.
            _LOG.error("rules ignored", extra={"error": str(error)})
            return None
        return None if rules == Rules() else RuledRow(rules)
