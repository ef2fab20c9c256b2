"""Train the small speaker-vector network and export it with the contract of `campplus.onnx`.

Kaldi fbank (1, frames, 80) in, (1, 192) out: dilated convolutions, then mean and deviation over
time. Trained to tell the training voices apart with an additive-margin softmax.

Run: python -m step_audio.nano.training.speaker_net --speech build/nano/speech \
         --out build/nano/speaker
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.data.augment import augment
from step_audio.nano.corpus.corpus import RATE_HZ, CorpusUtterance, read_corpus
from step_audio.train.loop import Budget, TrainingRun
from step_audio.train.options import prepare, run_options

EMBEDDING = 192
MARGIN, SCALE = 0.2, 30.0
CROP_SAMPLES = int(1.6 * RATE_HZ)


class SpeakerNet(nn.Module):
    """(B, frames, 80) -> (B, 192)."""

    def __init__(self, width: int = 160) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(
                80 if i == 0 else width, width, 5 if i == 0 else 3, dilation=d, padding="same"
            )
            for i, d in enumerate((1, 2, 3, 4))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in self.layers)
        self.out = nn.Linear(2 * width, EMBEDDING)

    def forward(self, fbank: Tensor) -> Tensor:
        x = fbank.transpose(1, 2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(F.relu(layer(x)))
        deviation = (x.var(2, unbiased=False) + 1e-5).sqrt()
        embedding: Tensor = self.out(torch.cat([x.mean(2), deviation], dim=1))
        return embedding


def speaker_fbank(pcm: Tensor) -> Tensor:
    """Return (frames, 80): povey window, samples as they are, mean of the utterance removed."""
    fbank: Tensor = torchaudio.compliance.kaldi.fbank(
        pcm[None], num_mel_bins=80, sample_frequency=RATE_HZ, dither=0.0
    )
    return fbank - fbank.mean(0, keepdim=True)


class SpeakerCrops:
    """Batches with every voice equally likely."""

    def __init__(self, utterances: Sequence[CorpusUtterance], seed: int) -> None:
        self.by_speaker: dict[str, list[CorpusUtterance]] = defaultdict(list)
        for utterance in utterances:
            if len(utterance.pcm) > CROP_SAMPLES // 2:
                self.by_speaker[utterance.speaker].append(utterance)
        self.names = sorted(self.by_speaker)
        self.random, self.numpy = random.Random(seed), np.random.default_rng(seed)

    def next(self, size: int) -> tuple[Tensor, Tensor]:
        """Return fbanks (B, frames, 80) and speaker indices (B,)."""
        labels = [self.random.randrange(len(self.names)) for _ in range(size)]
        return torch.stack([self._crop(self.names[i]) for i in labels]), torch.tensor(labels)

    def _crop(self, name: str) -> Tensor:
        pcm = self.random.choice(self.by_speaker[name]).pcm.astype(np.float32) / 32768.0
        if self.random.random() < 0.5:
            pcm = augment(pcm, self.numpy, 0.7)
        pcm = np.tile(pcm, CROP_SAMPLES // len(pcm) + 1)
        start = self.random.randrange(len(pcm) - CROP_SAMPLES + 1)
        return speaker_fbank(torch.from_numpy(pcm[start : start + CROP_SAMPLES].copy()))


def margin_loss(embeddings: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """Additive-margin softmax over cosine similarity. Source: arXiv:1801.05599."""
    cosine = F.normalize(embeddings) @ F.normalize(centres).T
    margin = MARGIN * F.one_hot(labels, len(centres))
    return F.cross_entropy(SCALE * (cosine - margin), labels)


def train(args: argparse.Namespace) -> None:
    """Run to the end of the budget, resuming where a checkpoint is; then export."""
    device = prepare(args)
    crops = SpeakerCrops(read_corpus(Path(args.speech)), args.seed)
    net = SpeakerNet().to(device)
    centres = nn.Linear(EMBEDDING, len(crops.names), bias=False).to(device)
    optimizer = torch.optim.AdamW([*net.parameters(), *centres.parameters()], 2e-3)
    run = TrainingRun(
        Path(args.out),
        {"net": net, "centres": centres},
        optimizer,
        Budget(args.minutes, args.steps),
    )
    run.resume()
    net.train()
    while not run.done:
        run.set_learning_rate(2e-3, warm_steps=30)
        fbank, labels = (t.to(device) for t in crops.next(args.batch))
        embeddings = net(fbank)
        loss = margin_loss(embeddings, centres.weight, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        right = (F.normalize(embeddings) @ F.normalize(centres.weight).T).argmax(1) == labels
        run.advance({"loss": float(loss.detach()), "right": float(right.float().mean())})
    export(net, Path(args.out) / "export" / "campplus.onnx")


def export(net: SpeakerNet, path: Path) -> None:
    """Write the graph; frames are free, the batch is 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net.eval().cpu(),
        (torch.zeros(1, 200, 80),),
        str(path),
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {1: "frames"}},
        opset_version=17,
        dynamo=False,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = run_options(__doc__, minutes=4.0)
    parser.add_argument(
        "--speech", required=True, help="folder written by step_audio.nano.corpus.corpus"
    )
    parser.add_argument("--batch", type=int, default=32)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
