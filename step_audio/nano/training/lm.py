"""Train the LM on composed samples: transcribe, read, spoken and typed questions in one mix.

Run: python -m step_audio.nano.training.lm --data build/nano/lm-data --out build/nano/lm
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.vocab import Vocab
from step_audio.engine.step1 import Step1, Step1Config
from step_audio.engine.weights import load_step1, save_step1
from step_audio.nano.training.lm_data import extend_composer, load_composer
from step_audio.nano.training.lm_embedding import StructuredEmbedding
from step_audio.nano.training.lm_samples import LmSample, SampleComposer, TaskWeights
from step_audio.nano.training.tokenizer_nets import SEMANTIC_LEVELS
from step_audio.train.loop import Budget, TrainingRun
from step_audio.train.optimizers import for_layers
from step_audio.train.options import prepare, run_options
from step_audio.train.precision import autocast

TEXT_WEIGHT = 3.0
"""A text id decides what is said, an audio id how a 60th of a second of it sounds."""


REFRESH_STEPS = 100
"""How often shards that were written meanwhile are taken in."""


class LmTrainer(nn.Module):
    """Step1 whose tied table is built by `StructuredEmbedding`."""

    def __init__(self, config: Step1Config, vocab: Vocab, centroids: Tensor) -> None:
        super().__init__()
        self.vocab = vocab
        self.lm = Step1(config)
        self.lm.initialize(torch.Generator().manual_seed(0))
        # The table below takes the place of the model's own until `export_state`.
        del self.lm.model.embed_tokens
        width = config.hidden_size
        self.embedding = StructuredEmbedding(vocab, width, centroids, SEMANTIC_LEVELS, std=0.05)

    def begin(self, trained: Step1) -> None:
        """Start from a trained LM of the same sizes with tied embeddings."""
        state = trained.state_dict()
        self.embedding.begin(state.pop("model.embed_tokens.weight"))
        self.lm.load_state_dict(state)

    def losses(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts for ids (B, T) and mask (B, T)."""
        with autocast(ids.device.type):
            table = self.embedding.table()
            hidden = self.lm.hidden(inputs_embeds=F.embedding(ids[:, :-1], table))
            wanted = mask[:, 1:]
            logits = F.linear(hidden[wanted], table)
        target = ids[:, 1:][wanted]
        each = F.cross_entropy(logits.float(), target, reduction="none")
        audio = target >= self.vocab.audio_base
        weight = torch.where(audio, 1.0, TEXT_WEIGHT)
        loss = (each * weight).sum() / weight.sum()
        return loss, {
            "text": each[~audio].mean().detach(),
            "audio": each[audio].mean().detach(),
        }

    def export_state(self) -> dict[str, Tensor]:
        """Return the state dict of an ordinary Step1 with tied embeddings."""
        state = {f"{k}": v.detach().contiguous() for k, v in self.lm.state_dict().items()}
        state["model.embed_tokens.weight"] = self.embedding.table().detach().contiguous()
        return state


class Batches:
    """Endless batches of at most `tokens` padded ids, samples of like length together."""

    def __init__(self, composer: SampleComposer, tokens: int, max_length: int, seed: int) -> None:
        self.composer, self.tokens, self.max_length = composer, tokens, max_length
        self.random = random.Random(seed)
        self.queue: list[list[LmSample]] = []

    def next(self) -> tuple[Tensor, Tensor]:
        """Return ids (B, T) int64 and mask (B, T) bool."""
        if not self.queue:
            self._refill()
        batch = self.queue.pop()
        longest = max(len(s.ids) for s in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros(len(batch), longest, dtype=torch.bool)
        for row, sample in enumerate(batch):
            ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
            mask[row, : len(sample.mask)] = torch.tensor(sample.mask)
        return ids, mask

    def _refill(self) -> None:
        pool = [self.composer.draw() for _ in range(400)]
        pool = [s for s in pool if len(s.ids) <= self.max_length]
        pool.sort(key=lambda s: len(s.ids) + self.random.random() * 12)
        batch: list[LmSample] = []
        for sample in pool:
            if batch and (len(batch) + 1) * max(len(sample.ids), len(batch[-1].ids)) > self.tokens:
                self.queue.append(batch)
                batch = []
            batch.append(sample)
        self.queue.append(batch)
        self.random.shuffle(self.queue)


def train(args: argparse.Namespace) -> None:
    """Run to the end of the budget, resuming where a checkpoint is; then export."""
    device = prepare(args)
    data = Path(args.data)
    vocab = Vocab(**json.loads((data / "vocab.json").read_text()))
    centroids = torch.from_numpy(np.load(data / "centroids.npy", allow_pickle=False))
    composer = load_composer(data, vocab, random.Random(args.seed))
    start = load_step1(Path(args.start)) if args.start else None
    config = start.config if start else _config(args, vocab)
    trainer = LmTrainer(config, vocab, centroids)
    if start:
        trainer.begin(start.module())
    trainer.to(device)
    print(f"{sum(p.numel() for p in trainer.parameters()) / 1e6:.1f}M parameters", flush=True)
    optimizer = for_layers(trainer, trainer.lm.model.layers)
    run = TrainingRun(
        Path(args.out), {"trainer": trainer}, optimizer, Budget(args.minutes, args.steps)
    )
    if run.resume():
        print(f"resumed at step {run.step}, {run.fraction:.0%} of the budget used")
    batches = Batches(composer, args.batch_tokens, args.max_length, args.seed + run.step)
    trainer.train()
    while not run.done:
        run.set_learning_rate(args.learning_rate, warm_steps=60, hold=0.5)
        composer.set_weights(_mix(run.fraction, args.mix, fresh=start is None))
        if run.step % REFRESH_STEPS == 0:
            extend_composer(composer, data)
        ids, mask = (t.to(device) for t in batches.next())
        loss, parts = trainer.losses(ids, mask)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
        optimizer.step()
        run.advance({"loss": float(loss.detach()), **{k: float(v) for k, v in parts.items()}})
    save_step1(Path(args.out) / "export", config, trainer.export_state())


def _config(args: argparse.Namespace, vocab: Vocab) -> Step1Config:
    return Step1Config(
        hidden_size=args.width,
        intermediate_size=args.intermediate,
        num_attention_heads=args.heads,
        num_attention_groups=args.groups,
        num_hidden_layers=args.layers,
        vocab_size=vocab.size,
        max_seq_len=4096,
        tie_word_embeddings=True,
    )


def _mix(fraction: float, asked: Sequence[float] | None, *, fresh: bool) -> TaskWeights:
    """Hearing and reading first; whole spoken turns once words are heard at all."""
    if fresh and fraction < 0.2:
        return TaskWeights(transcribe=0.35, read=0.2, spoken=0.05, typed=0.4)
    return TaskWeights(*asked) if asked else TaskWeights()


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = run_options(__doc__, minutes=70.0, learning_rate=2e-3)
    parser.add_argument(
        "--data", required=True, help="folder written by step_audio.nano.training.lm_data"
    )
    parser.add_argument("--from", dest="start", help="folder of an LM to train on; tells the sizes")
    parser.add_argument(
        "--mix",
        nargs=4,
        type=float,
        metavar=("TRANSCRIBE", "READ", "SPOKEN", "TYPED"),
        help="how often each task is drawn",
    )
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--max-length", type=int, default=640)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--intermediate", type=int, default=704)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--groups", type=int, default=4)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
