"""Stock PEFT: LoRA adapters on a pack. Run: python lora.py MODEL PACK.parquet OUT [STEPS]"""

import sys

from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from step_audio.hf.collators import SequenceCollator  # its package makes Step1 known

base, pack, out, steps = (*sys.argv[1:4], int((sys.argv[4:] or [200])[0]))
model = AutoModelForCausalLM.from_pretrained(base)
adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(model, adapters)
rows = load_dataset("parquet", data_files=pack, split="train")
parts = rows.train_test_split(max(2, len(rows) // 20), seed=0)
options = {"remove_unused_columns": False, "report_to": "none", "logging_steps": 1}
recipe = TrainingArguments(
    out, max_steps=steps, per_device_train_batch_size=4, learning_rate=1e-3, **options
)
trainer = Trainer(model, recipe, SequenceCollator(), parts["train"], parts["test"])
before = trainer.evaluate()["eval_loss"]
trainer.train()
print(f"eval loss {before:.4f} -> {trainer.evaluate()['eval_loss']:.4f}")
model.save_pretrained(out)
