"""Teach the trained linguistic encoder voices it has not met; its codes keep their meaning.

Centroids and phone head stand still: what the flow and the LM learned of the codes stays true, and
for the answer voices the encoder is held to what it was. Only speech that is heard changes, so
of the later stages only the LM's "hearing" shards have to be made again.

Run: python -m step_audio.train.hearing --speech build/nano/speech \
         --tokenizers build/nano/tokenizers --out build/nano/hearing
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from step_audio.core.types import Pcm
from step_audio.data.augment import augment, warp
from step_audio.data.corpus import Utterance, read_corpus
from step_audio.data.domain import pronunciations
from step_audio.data.feature_warp import mask, other_speaker
from step_audio.data.speakers import ANSWER_SPEAKERS
from step_audio.train.loop import Budget, TrainingRun
from step_audio.train.optimizers import for_layers
from step_audio.train.options import prepare, run_options
from step_audio.train.speech_batches import BLANK, SAMPLE_RATE_HZ
from step_audio.train.tokenizer_export import export
from step_audio.train.tokenizers import TokenizerSizes, TokenizerTrainer
from tokenizer.features import fbank_rows, stacked

KEPT_SHARE = 0.15
"""Share of utterances by an answer voice, undamaged, for which the old frames are the target."""


@dataclass(frozen=True, slots=True)
class HearingBatch:
    """features (B, T, 560) at 16.7 Hz, kept (B,) marks rows held to the old encoder."""

    features: Tensor
    lengths: Tensor
    phones: Tensor
    phone_lengths: Tensor
    kept: Tensor

    def to(self, device: torch.device) -> HearingBatch:
        """Return the batch on a device."""
        return HearingBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


class HearingBatches:
    """Endless batches in which nearly every utterance has a speaker of its own."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        cmvn: tuple[list[float], list[float]],
        seed: int,
        batch_seconds: float,
    ) -> None:
        self.lexicon = pronunciations()
        names = sorted({phone for ways in self.lexicon.values() for way in ways for phone in way})
        self.phone_names = (BLANK, *names)
        self.index = {name: i for i, name in enumerate(self.phone_names)}
        known = [u for u in utterances if all(word in self.lexicon for word in u.words)]
        self.utterances = [u for u in known if 0.3 < len(u.pcm) / SAMPLE_RATE_HZ < 7.0]
        self.answering = [u for u in self.utterances if u.speaker in ANSWER_SPEAKERS]
        self.shift, self.scale = (np.array(v, dtype=np.float32) for v in cmvn)
        self.batch_seconds = batch_seconds
        self.random, self.numpy = random.Random(seed), np.random.default_rng(seed)
        self._queue = self._batches()

    def next(self) -> HearingBatch:
        """Return the next batch."""
        return next(self._queue)

    def _features(self, utterance: Utterance, kept: bool) -> Tensor:
        sound: Pcm = utterance.pcm.astype(np.float32) / 32768.0
        sound = sound * np.float32(self.numpy.uniform(0.2, 1.0))
        if not kept:
            if self.random.random() < 0.35:
                sound = warp(sound, self.numpy)
            if self.random.random() < 0.7:
                sound = augment(sound, self.numpy, 0.8)
        rows = fbank_rows(sound)
        if not kept and self.random.random() < 0.85:
            rows = other_speaker(rows, self.numpy)
        if not kept and self.random.random() < 0.5:
            rows = mask(rows, self.numpy)
        return torch.from_numpy((stacked(rows) + self.shift) * self.scale)

    def _phones(self, utterance: Utterance) -> list[int]:
        ways = (self.random.choice(self.lexicon[word]) for word in utterance.words)
        return [self.index[phone] for way in ways for phone in way]

    def _batches(self) -> Iterator[HearingBatch]:
        while True:
            drawn = self.random.sample(self.utterances, min(300, len(self.utterances)))
            pool = [(u, False) for u in drawn]
            kept = int(len(drawn) * KEPT_SHARE) if self.answering else 0
            pool += [(self.random.choice(self.answering), True) for _ in range(kept)]
            pool.sort(key=lambda pair: len(pair[0].pcm) + self.random.random() * 8000)
            batches: list[list[tuple[Utterance, bool]]] = [[]]
            seconds = 0.0
            for pair in pool:
                length = len(pair[0].pcm) / SAMPLE_RATE_HZ
                if seconds + length > self.batch_seconds and batches[-1]:
                    batches.append([])
                    seconds = 0.0
                batches[-1].append(pair)
                seconds += length
            self.random.shuffle(batches)
            for batch in batches:
                yield self._collate(batch)

    def _collate(self, pairs: list[tuple[Utterance, bool]]) -> HearingBatch:
        rows = [(self._features(u, kept), self._phones(u), kept) for u, kept in pairs]
        # CTC needs at least one step a phone.
        rows = [row for row in rows if len(row[1]) < 3 * len(row[0])] or rows[:1]
        longest = max(len(features) for features, _, _ in rows)
        return HearingBatch(
            torch.stack([F.pad(f, (0, 0, 0, longest - len(f))) for f, _, _ in rows]),
            torch.tensor([len(f) for f, _, _ in rows]),
            torch.tensor([p for _, phones, _ in rows for p in phones]),
            torch.tensor([len(phones) for _, phones, _ in rows]),
            torch.tensor([kept for _, _, kept in rows]),
        )


class HearingTrainer(nn.Module):
    """The encoder that learns, between the parts that stand still."""

    def __init__(self, trained: TokenizerTrainer) -> None:
        super().__init__()
        self.encoder = trained.encoder
        # Plain attributes in a tuple: not registered, so neither saved nor trained.
        self._still = (copy.deepcopy(trained.encoder).eval(), trained.codebook, trained.phones)
        for module in self._still:
            module.eval().requires_grad_(False)

    def on(self, device: torch.device) -> HearingTrainer:
        """Return itself with every part on a device, those that stand still too."""
        for module in (self.encoder, *self._still):
            module.to(device)
        return self

    def losses(self, batch: HearingBatch) -> dict[str, Tensor]:
        """Return the weighted losses by name."""
        old, codebook, phones = self._still
        kind = batch.features.device.type
        # The CPU's fused attention is several times slower on windows of 9 rows.
        with torch.autocast(kind, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            frames = self.encoder(batch.features).float()
        steps = torch.arange(frames.shape[1], device=frames.device)
        valid = (steps < batch.lengths[:, None]).float()
        quantised, _, commitment = codebook(frames, valid)
        with torch.autocast(kind, torch.bfloat16):
            logits = phones(quantised).float()
        ctc = F.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1),
            batch.phones,
            (3 * batch.lengths).clamp(max=logits.shape[1]),
            batch.phone_lengths,
            zero_infinity=True,
        )
        losses = {"ctc": ctc, "commit": 0.25 * commitment}
        if bool(batch.kept.any()):
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                before = old(batch.features[batch.kept])
            error = (frames[batch.kept] - before).square().mean(-1)
            held = valid[batch.kept]
            losses["moved"] = (error * held).sum() / held.sum()
        return losses


def train(args: argparse.Namespace) -> None:
    """Run to the end of the budget, resuming where a checkpoint is; then export."""
    device = prepare(args)
    source = Path(args.tokenizers) / "checkpoint.pt"
    state = torch.load(source, map_location="cpu", weights_only=True)
    cmvn = state["extra"]["cmvn"]
    batches = HearingBatches(read_corpus(Path(args.speech)), cmvn, args.seed, args.batch_seconds)
    sizes = TokenizerSizes(64, 2, 128, 64, 2) if args.smoke else TokenizerSizes()
    trained = TokenizerTrainer(sizes, len(batches.phone_names))
    trained.load_state_dict(state["modules"]["trainer"])
    trainer = HearingTrainer(trained).on(device)
    optimizer = for_layers(trainer, [trainer.encoder])
    run = TrainingRun(
        Path(args.out), {"hearing": trainer}, optimizer, Budget(args.minutes, args.steps)
    )
    if run.resume():
        print(f"resumed at step {run.step}, {run.fraction:.0%} of the budget used")
    trainer.encoder.train()
    while not run.done:
        run.set_learning_rate(args.learning_rate)
        losses = trainer.losses(batches.next().to(device))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(trainer.encoder.parameters(), 2.0)
        optimizer.step()
        run.advance({name: float(value.detach()) for name, value in losses.items()})
    trained.eval().to("cpu")
    export(trained, cmvn, Path(args.out) / "export")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = run_options(__doc__, minutes=25.0, learning_rate=1e-3, seed=2)
    parser.add_argument("--speech", required=True, help="folder written by step_audio.data.corpus")
    parser.add_argument(
        "--tokenizers", required=True, help="folder written by step_audio.train.tokenizers"
    )
    parser.add_argument("--batch-seconds", type=float, default=40.0)
    parser.add_argument("--smoke", action="store_true", help="tiny widths, to try the path")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
