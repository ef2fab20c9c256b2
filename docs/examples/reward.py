"""Stock TRL: a reward model of pairs. Run: python reward.py MODEL PAIRS.parquet OUT [STEPS]"""

import sys

import torch
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

import step_audio.hf  # noqa: F401 - makes Step1 known to the Auto classes

base, pairs, out, steps = (*sys.argv[1:4], int((sys.argv[4:] or [100])[0]))
options = {"report_to": "none", "logging_steps": 1, "bf16": torch.cuda.is_available()}
recipe = RewardConfig(
    out, max_steps=steps, per_device_train_batch_size=4, learning_rate=1e-4, **options
)
rows = load_dataset("parquet", data_files=pairs, split="train").select_columns(
    ["chosen_input_ids", "rejected_input_ids"]
)
trainer = RewardTrainer(
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=1),
    args=recipe,
    processing_class=AutoTokenizer.from_pretrained(base, eos_token="<|EOT|>", pad_token="<pad>"),
    train_dataset=rows.rename_columns(
        {"chosen_input_ids": "chosen_ids", "rejected_input_ids": "rejected_ids"}
    ),
)
trainer.train()
trainer.save_model(out)
for row in trainer.state.log_history:
    print({name: row[name] for name in ("loss", "accuracy") if name in row})
