"""Step1 as a `transformers` model: Trainer, PEFT, TRL, accelerate and exporters work on it.

    import step_audio.hf  # makes the model known
    model = AutoModelForCausalLM.from_pretrained("Step-Audio-TTS-3B")

No remote code is run: a folder's own `modeling_step1.py` is never looked at.
"""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from step_audio.engine.hf_config import Step1HfConfig
from step_audio.hf.modeling import (
    Step1ForCausalLM,
    Step1ForSequenceClassification,
    Step1Model,
)

__all__ = [
    "Step1ForCausalLM",
    "Step1ForSequenceClassification",
    "Step1HfConfig",
    "Step1Model",
    "register",
]


def register() -> None:
    """Make Step1 known to the Auto classes; importing this package does it."""
    AutoConfig.register(Step1HfConfig.model_type, Step1HfConfig, exist_ok=True)
    AutoModel.register(Step1HfConfig, Step1Model, exist_ok=True)
    AutoModelForCausalLM.register(Step1HfConfig, Step1ForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(
        Step1HfConfig, Step1ForSequenceClassification, exist_ok=True
    )


register()
