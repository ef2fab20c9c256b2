"""Stock TRL: DPO on a pack of pairs. Run: python dpo.py MODEL PAIRS.parquet OUT [STEPS]"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from step_audio.core.vocab import Vocab
from step_audio.hf.collators import PairCollator  # its package makes Step1 known
from step_audio.hf.tokenizer import load_tokenizer

base, pairs, out, steps = (*sys.argv[1:4], int((sys.argv[4:] or [100])[0]))
vocab = Vocab(**json.loads(pq.read_schema(pairs).metadata[b"step_audio.pack"])["vocab"])
options = {"remove_unused_columns": False, "report_to": "none", "logging_steps": 1}
options |= {"bf16": torch.cuda.is_available(), "per_device_train_batch_size": 4}
recipe = DPOConfig(out, max_steps=steps, learning_rate=1e-5, **options)
trainer = DPOTrainer(
    AutoModelForCausalLM.from_pretrained(base),
    args=recipe,
    processing_class=load_tokenizer(Path(base), vocab),
    data_collator=PairCollator(vocab, mask_audio=True),
    train_dataset=load_dataset("parquet", data_files=pairs, split="train"),
)
trainer.train()
trainer.save_model(out)
for row in trainer.state.log_history:
    print({name: row[name] for name in ("loss", "rewards/margins") if name in row})
