"""Train both codebooks together; export them in the layout that `tokenizer.loading` reads.

Linguistic: phone CTC through an EMA codebook of 1024 centroids. Semantic: finite scalar codes of
4096, from which (with the linguistic ones) a small decoder must rebuild the mel. One run, so that
the two streams complement each other.

Run: python -m step_audio.nano.training.tokenizers --speech build/nano/speech \
         --out build/nano/tokenizers
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from step_audio.core.vocab import LINGUISTIC_SIZE
from step_audio.nano.training.quantizers import EmaCodebook
from step_audio.nano.training.speech_batches import SpeechBatch, SpeechBatches, estimate_cmvn
from step_audio.nano.training.tokenizer_export import export
from step_audio.nano.training.tokenizer_nets import MelDecoder, PhoneHead, SemanticNet
from step_audio.train.loop import Budget, TrainingRun
from step_audio.train.optimizers import for_layers
from step_audio.train.options import prepare, run_options
from step_audio.train.precision import autocast
from tokenizer.sanm import SanmConfig, SanmEncoder

QUANTISE_FROM = 0.4
"""Share of the run after which both quantisers are on."""


@dataclass(frozen=True, slots=True)
class TokenizerSizes:
    """Widths of nano's two encoders."""

    linguistic_width: int = 256
    linguistic_blocks: int = 6
    linguistic_units: int = 768
    semantic_width: int = 256
    semantic_blocks: int = 5


class TokenizerTrainer(nn.Module):
    """Both encoders, both quantisers and the heads that exist only here."""

    def __init__(self, sizes: TokenizerSizes, phones: int) -> None:
        super().__init__()
        self.config = SanmConfig(
            output_size=sizes.linguistic_width,
            attention_heads=4,
            linear_units=sizes.linguistic_units,
            num_blocks=sizes.linguistic_blocks,
        )
        self.encoder = SanmEncoder(self.config)
        self.codebook = EmaCodebook(LINGUISTIC_SIZE, sizes.linguistic_width)
        self.semantic = SemanticNet(sizes.semantic_width, sizes.semantic_blocks)
        self.phones = PhoneHead(sizes.linguistic_width, phones)
        self.semantic_phones = nn.Linear(sizes.semantic_width, 2 * phones)
        self.mel = MelDecoder(sizes.linguistic_width, sizes.semantic_width)

    def losses(self, batch: SpeechBatch, rounding: bool) -> dict[str, Tensor]:
        """Return the weighted losses of a batch by name."""
        fast = autocast(batch.features.device.type)
        # The fused attention kernel is several times slower on windows of 9 rows.
        with fast, sdpa_kernel(SDPBackend.MATH):
            frames = self.encoder(batch.features).float()
            semantic = self.semantic.frames(batch.log_mel).float()
        valid = _mask(batch.feature_lengths, frames.shape[1])
        self.last_frames = frames.detach()[valid.bool()]
        linguistic, _, commitment = self.codebook(frames, valid)
        semantic, _ = self.semantic.quantizer(semantic, rounding)
        with fast:
            phone_logits = self.phones(linguistic).float()
            second_logits = self.semantic_phones(semantic).float()
            mel = self.mel(linguistic, semantic, batch.statistics).float()
        steps = min(mel.shape[1], batch.mel.shape[1])
        shown = _mask(batch.mel_lengths, steps)
        error = ((mel[:, :steps] - batch.mel[:, :steps]).abs().mean(-1) * shown).sum()
        phones = phone_logits.shape[2]
        return {
            "ctc": _ctc(phone_logits, 3 * batch.feature_lengths, batch),
            "follow": 0.5 * _follow(second_logits.reshape(len(mel), -1, phones), phone_logits),
            "mel": 1.5 * error / shown.sum(),
            "commit": 0.25 * commitment,
        }


def _mask(lengths: Tensor, steps: int) -> Tensor:
    return (torch.arange(steps, device=lengths.device)[None] < lengths[:, None]).float()


def _follow(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of the semantic side's phones (B, T1, P) to the linguistic side's (B, T2, P).

    Both are at 50 Hz. A target a frame teaches what CTC alone would find much later.
    """
    steps = min(student.shape[1], teacher.shape[1])
    target = teacher[:, :steps].detach().softmax(-1).transpose(1, 2)
    return F.cross_entropy(student[:, :steps].transpose(1, 2), target)


def _ctc(logits: Tensor, lengths: Tensor, batch: SpeechBatch) -> Tensor:
    loss = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        batch.phones,
        lengths.clamp(max=logits.shape[1]),
        batch.phone_lengths,
        zero_infinity=True,
    )
    return loss


def train(args: argparse.Namespace) -> None:
    """Run to the end of the budget, resuming where a checkpoint is; then export."""
    device = prepare(args)
    batches = SpeechBatches(Path(args.speech), seed=args.seed, batch_seconds=args.batch_seconds)
    sizes = TokenizerSizes()
    if args.smoke:
        sizes = TokenizerSizes(64, 2, 128, 64, 2)
    trainer = TokenizerTrainer(sizes, len(batches.phone_names)).to(device)
    optimizer = for_layers(trainer, [trainer.encoder, trainer.semantic.blocks, trainer.mel.blocks])
    run = TrainingRun(
        Path(args.out), {"trainer": trainer}, optimizer, Budget(args.minutes, args.steps)
    )
    if args.warm_start and not run.checkpoint.exists():
        state = torch.load(args.warm_start, map_location="cpu", weights_only=True)
        trainer.load_state_dict(state["modules"]["trainer"])
        trainer.codebook.started.fill_(False)
        run.extra["cmvn"] = state["extra"]["cmvn"]
    if run.resume():
        print(f"resumed at step {run.step}, {run.fraction:.0%} of the budget used")
    if "cmvn" not in run.extra:
        run.extra["cmvn"] = estimate_cmvn(batches, 20 if args.smoke else 300)
    batches.set_cmvn(*run.extra["cmvn"])
    trainer.train()
    while not run.done:
        run.set_learning_rate(args.learning_rate)
        quantise = run.fraction >= QUANTISE_FROM
        if quantise and not bool(trainer.codebook.started):
            _start_codebook(trainer, batches, device, frames=(2 if args.smoke else 30) * 1024)
        losses = trainer.losses(batches.next().to(device), quantise)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(trainer.parameters(), 2.0)
        optimizer.step()
        run.advance({name: float(value.detach()) for name, value in losses.items()})
    trainer.eval()
    export(trainer, run.extra["cmvn"], Path(args.out) / "export")


def _start_codebook(
    trainer: TokenizerTrainer, batches: SpeechBatches, device: torch.device, frames: int
) -> None:
    kept: list[Tensor] = []
    while sum(map(len, kept)) < frames:
        with torch.no_grad():
            trainer.losses(batches.next().to(device), rounding=False)
        kept.append(trainer.last_frames)
    trainer.codebook.start(torch.cat(kept))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = run_options(__doc__, minutes=40.0, learning_rate=2e-3)
    parser.add_argument(
        "--speech", required=True, help="folder written by step_audio.nano.corpus.corpus"
    )
    parser.add_argument("--warm-start", help="checkpoint whose weights to begin with")
    parser.add_argument("--batch-seconds", type=float, default=28.0)
    parser.add_argument("--smoke", action="store_true", help="tiny widths, to try the path")
    args = parser.parse_args(argv)
    train(args)


if __name__ == "__main__":
    main()
