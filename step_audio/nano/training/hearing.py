"""Teach the trained linguistic encoder voices it has not met; its codes keep their meaning.

Centroids and phone head stand still: what the flow and the LM learned of the codes stays true, and
for the answer voices the encoder is held to what it was. Only speech that is heard changes, so
of the later stages only the LM's hearing has to follow: `--heard` hands it what is heard here.

Run: python -m step_audio.nano.training.hearing --speech build/nano/speech \
         --tokenizers build/nano/tokenizers --out build/nano/hearing
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from step_audio.core.resampling import resample_input
from step_audio.core.types import Pcm
from step_audio.data.augment import augment, coloured_noise, mix, pad_noise, warp
from step_audio.data.speakers import ANSWER_SPEAKERS
from step_audio.nano.corpus.corpus import CorpusUtterance, read_corpus
from step_audio.nano.domain import pronunciations
from step_audio.nano.training.feature_warp import mask, other_speaker
from step_audio.nano.training.heard import SHARD, HeardWriter
from step_audio.nano.training.hearing_parts import HearingParts, read_parts
from step_audio.nano.training.speech_batches import BLANK, SAMPLE_RATE_HZ
from step_audio.nano.training.tokenizers import TokenizerSizes
from step_audio.train.loop import Budget, TrainingRun
from step_audio.train.optimizers import for_layers
from step_audio.train.options import prepare, run_options
from step_audio.train.precision import autocast
from tokenizer.features import fbank_rows, stacked
from tokenizer.preprocess import CausalLevel
from tokenizer.stream import GROUP_SAMPLES

KEPT_SHARE = 0.15
"""Share of utterances by an answer voice, undamaged, for which the old frames are the target."""

HEAD_STEPS = 250
"""Steps in which a new phone head learns to read the codes as they are."""

CLIENT_RATE_HZ = 24_000

NOISY_SHARE, NOISY_DB = 0.3, (9.0, 25.0)
"""Share of utterances in steady noise, to the last step, and its ratio: gentle sounds alone let
the ear forget what noise at 15 dB is like."""

GENTLE = 0.55
"""How hard sounds are changed at the end, as a share of the beginning: hard conditions teach most,
but the last steps should meet what will be heard."""


def phone_names() -> tuple[str, ...]:
    """Return the classes of the phone head: blank, then every phone of the lexicon, sorted."""
    ways = (way for ways in pronunciations().values() for way in ways)
    return (BLANK, *sorted({phone for way in ways for phone in way}))


@dataclass(frozen=True, slots=True)
class HearingBatch:
    """features (B, T, 560) at 16.7 Hz, kept (B,) marks rows held to the old encoder; utterances are
    those of the rows."""

    features: Tensor
    lengths: Tensor
    phones: Tensor
    phone_lengths: Tensor
    kept: Tensor
    utterances: tuple[CorpusUtterance, ...]

    def to(self, device: torch.device) -> HearingBatch:
        """Return the batch on a device."""
        names = ("features", "lengths", "phones", "phone_lengths", "kept")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


class HearingBatches:
    """Endless batches in which nearly every utterance has a speaker of its own."""

    def __init__(
        self,
        utterances: Sequence[CorpusUtterance],
        cmvn: tuple[list[float], list[float]],
        seed: int,
        batch_seconds: float,
    ) -> None:
        self.lexicon = pronunciations()
        self.index = {name: i for i, name in enumerate(phone_names())}
        self.use(utterances)
        self.shift, self.scale = (np.array(v, dtype=np.float32) for v in cmvn)
        self.batch_seconds = batch_seconds
        self.strength = 1.0
        self.random, self.numpy = random.Random(seed), np.random.default_rng(seed)
        self._queue = self._batches()

    def use(self, utterances: Sequence[CorpusUtterance]) -> None:
        """Draw from these from now on; words without a pronunciation and long sounds are left."""
        known = [u for u in utterances if all(word in self.lexicon for word in u.words)]
        self.utterances = [u for u in known if 0.3 < len(u.pcm) / SAMPLE_RATE_HZ < 7.0]
        self.answering = [u for u in self.utterances if u.speaker in ANSWER_SPEAKERS]

    def next(self) -> HearingBatch:
        """Return the next batch."""
        return next(self._queue)

    def _features(self, utterance: CorpusUtterance, kept: bool) -> Tensor:
        sound: Pcm = utterance.pcm.astype(np.float32) / 32768.0
        if not kept:
            if self.random.random() < 0.35:
                sound = warp(sound, self.numpy)
            if self.random.random() < 0.7:
                sound = augment(sound, self.numpy, 0.8 * self.strength)
            if self.random.random() < 0.3:
                there = soxr.resample(sound, SAMPLE_RATE_HZ, CLIENT_RATE_HZ, quality="MQ")
                sound = resample_input(there, CLIENT_RATE_HZ, SAMPLE_RATE_HZ)
            if self.random.random() < 0.6:
                sound = self._padded(sound)
            if self.random.random() < NOISY_SHARE:
                noise = coloured_noise(len(sound), self.numpy)
                sound = mix(sound, noise, self.random.uniform(*NOISY_DB))
        sound = sound * np.float32(self.numpy.uniform(0.2, 1.0))
        rows = fbank_rows(_as_served(sound))
        if not kept and self.random.random() < 0.85:
            rows = other_speaker(rows, self.numpy, self.strength)
        if not kept and self.random.random() < 0.5 * self.strength:
            rows = mask(rows, self.numpy)
        return torch.from_numpy((stacked(rows) + self.shift) * self.scale)

    def _padded(self, sound: Pcm) -> Pcm:
        """Return the sound as a turn holds it: where it begins within a group decides a fifth of
        its codes, and around it may be a room or, from a file, nothing at all."""
        before, after = self.random.uniform(0.0, 0.5), self.random.uniform(0.0, 0.6)
        if self.random.random() < 0.4:
            return np.pad(sound, (int(before * SAMPLE_RATE_HZ), int(after * SAMPLE_RATE_HZ)))
        return pad_noise(sound, before, after, self.numpy)

    def _phones(self, utterance: CorpusUtterance) -> list[int]:
        ways = (self.random.choice(self.lexicon[word]) for word in utterance.words)
        return [self.index[phone] for way in ways for phone in way]

    def _batches(self) -> Iterator[HearingBatch]:
        while True:
            drawn = self.random.sample(self.utterances, min(300, len(self.utterances)))
            pool = [(u, False) for u in drawn]
            kept = int(len(drawn) * KEPT_SHARE) if self.answering else 0
            pool += [(self.random.choice(self.answering), True) for _ in range(kept)]
            pool.sort(key=lambda pair: len(pair[0].pcm) + self.random.random() * 8000)
            batches: list[list[tuple[CorpusUtterance, bool]]] = [[]]
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

    def _collate(self, pairs: list[tuple[CorpusUtterance, bool]]) -> HearingBatch:
        rows = [(self._features(u, kept), self._phones(u), kept, u) for u, kept in pairs]
        # CTC needs at least one step a phone.
        rows = [row for row in rows if len(row[1]) < 3 * len(row[0])] or rows[:1]
        features, phones, kept, utterances = zip(*rows, strict=True)
        longest = max(map(len, features))
        return HearingBatch(
            torch.stack([F.pad(f, (0, 0, 0, longest - len(f))) for f in features]),
            torch.tensor([len(f) for f in features]),
            torch.tensor([p for row in phones for p in row], dtype=torch.long),
            torch.tensor([len(row) for row in phones]),
            torch.tensor(kept),
            utterances,
        )


def _as_served(pcm: Pcm) -> Pcm:
    """Return the sound at the level, and of the whole groups, that a stream gives the encoder."""
    level = CausalLevel()
    sound = np.concatenate([*level.push(pcm), *level.flush()])
    return np.pad(sound, (0, -len(sound) % GROUP_SAMPLES))


class HearingTrainer(nn.Module):
    """The encoder that learns, between the parts that stand still; a new phone head first."""

    def __init__(self, parts: HearingParts) -> None:
        super().__init__()
        self.encoder = parts.encoder.requires_grad_(True)
        # The head is saved, because weights that serve have none, but only `teach_head` moves it.
        self.phones = parts.phones
        # Plain attributes in a tuple: not registered, so neither saved nor trained.
        self._still = (copy.deepcopy(parts.encoder).eval(), parts.codebook.eval())
        for module in (*self._still, self.phones):
            module.requires_grad_(False)

    def on(self, device: torch.device) -> HearingTrainer:
        """Return itself with every part on a device, those that stand still too."""
        for module in (self.encoder, self.phones, *self._still):
            module.to(device)
        return self

    def losses(self, batch: HearingBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Return the weighted losses by name, and the codes that were heard, (B, T)."""
        old, codebook = self._still
        kind = batch.features.device.type
        # The CPU's fused attention is several times slower on windows of 9 rows.
        with autocast(kind), sdpa_kernel(SDPBackend.MATH):
            frames = self.encoder(batch.features, batch.lengths).float()
        steps = torch.arange(frames.shape[1], device=frames.device)
        valid = (steps < batch.lengths[:, None]).float()
        quantised, codes, commitment = codebook(frames, valid)
        with autocast(kind):
            logits = self.phones(quantised).float()
        losses = {"ctc": _phone_loss(logits, batch), "commit": 0.25 * commitment}
        if bool(batch.kept.any()):
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                before = old(batch.features[batch.kept], batch.lengths[batch.kept])
            error = (frames[batch.kept] - before).square().mean(-1)
            held = valid[batch.kept]
            losses["moved"] = (error * held).sum() / held.sum()
        return losses, codes

    def teach_head(self, batches: HearingBatches, steps: int, device: torch.device) -> None:
        """Let the phone head learn to read the codes of the encoder as it is."""
        encoder, codebook = self._still
        self.phones.requires_grad_(True)
        optimizer = torch.optim.AdamW(self.phones.parameters(), lr=2e-3, weight_decay=0.0)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1.0, (step + 1) / 20, 2.0 * (1.0 - step / steps))
            batch = batches.next().to(device)
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                frames = encoder(batch.features, batch.lengths)
                quantised = codebook(frames, torch.ones_like(frames[..., 0]))[0]
            loss = _phone_loss(self.phones(quantised), batch)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            if step % 25 == 0 or step == steps - 1:
                print(f"phone head, step {step}: ctc {float(loss.detach()):.3f}", flush=True)
        self.phones.requires_grad_(False)


def _phone_loss(logits: Tensor, batch: HearingBatch) -> Tensor:
    """Return the CTC loss a phone, mean over the rows that have any."""
    each = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        batch.phones,
        (3 * batch.lengths).clamp(max=logits.shape[1]),
        batch.phone_lengths,
        reduction="none",
        zero_infinity=True,
    )
    spoken = batch.phone_lengths > 0
    return (each / batch.phone_lengths.clamp(min=1))[spoken].sum() / spoken.sum().clamp(min=1)


def train(args: argparse.Namespace) -> None:
    """Run to the end of the budget, resuming where a checkpoint is; then export."""
    device = prepare(args)
    sizes = TokenizerSizes(64, 2, 128, 64, 2) if args.smoke else TokenizerSizes()
    parts = read_parts(Path(args.tokenizers), len(phone_names()), sizes)
    utterances = read_corpus(Path(args.speech), nonsense=True)
    batches = HearingBatches(utterances, parts.cmvn, args.seed, args.batch_seconds)
    trainer = HearingTrainer(parts).on(device)
    optimizer = for_layers(trainer.encoder, [trainer.encoder])
    run = TrainingRun(
        Path(args.out), {"hearing": trainer}, optimizer, Budget(args.minutes, args.steps)
    )
    if run.resume():
        print(f"resumed at step {run.step}, {run.fraction:.0%} of the budget used")
    elif parts.untaught:
        trainer.teach_head(batches, 4 if args.smoke else HEAD_STEPS, device)
        run.restart_clock()
    heard = HeardWriter(Path(args.heard), 20 if args.smoke else SHARD) if args.heard else None
    trainer.encoder.train()
    while not run.done:
        run.set_learning_rate(args.learning_rate)
        batches.strength = 1.0 - (1.0 - GENTLE) * max(0.0, 2.0 * run.fraction - 1.0)
        batch = batches.next().to(device)
        losses, codes = trainer.losses(batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(trainer.encoder.parameters(), 2.0)
        optimizer.step()
        if heard is not None:
            heard.add(batch.utterances, codes, batch.lengths)
        run.advance({name: float(value.detach()) for name, value in losses.items()})
        if args.refresh and run.step % args.refresh == 0:
            batches.use(read_corpus(Path(args.speech), nonsense=True))
    trainer.encoder.eval()
    if heard is not None:
        listen(trainer, batches, heard, args.listen, device)
    trainer.encoder.to("cpu")
    parts.export(Path(args.out) / "export")


@torch.no_grad()
def listen(
    trainer: HearingTrainer,
    batches: HearingBatches,
    heard: HeardWriter,
    utterances: int,
    device: torch.device,
) -> None:
    """Hand on how the encoder hears so many more utterances, without learning."""
    batches.strength, done = GENTLE, 0
    while done < utterances:
        batch = batches.next().to(device)
        heard.add(batch.utterances, trainer.losses(batch)[1], batch.lengths)
        done += len(batch.utterances)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = run_options(__doc__, minutes=25.0, learning_rate=1e-3, seed=2)
    parser.add_argument(
        "--speech", required=True, help="folder written by step_audio.nano.corpus.corpus"
    )
    parser.add_argument(
        "--tokenizers",
        required=True,
        help="folder written by nano.training.tokenizers, or `tokenizer` of packed weights",
    )
    parser.add_argument("--batch-seconds", type=float, default=60.0)
    parser.add_argument(
        "--heard", help="folder in which the LM finds the codes that are heard here"
    )
    parser.add_argument("--listen", type=int, default=0, help="utterances to hand on at the end")
    parser.add_argument("--refresh", type=int, help="read --speech anew every so many steps")
    parser.add_argument("--smoke", action="store_true", help="tiny widths, to try the path")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
