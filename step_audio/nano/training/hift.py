"""Train the small HiFT generator on machine-made speech.

Run: python -m step_audio.nano.training.hift --out build/nano/hift --minutes 35
First the pitch predictor alone, then the generator on spectra, at the end with critics. Stopped,
it goes on from its last checkpoint when started again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.nano.corpus.vocoder_corpus import Corpus, CropSampler, build_corpus
from step_audio.nano.training.discriminators import Critics, Verdicts
from step_audio.nano.training.vocoder_losses import (
    SpectralDistance,
    SpectralLosses,
    critic_loss,
    feature_loss,
    persuasion_loss,
)
from step_audio.train.loop import Budget, TrainingRun, pick_device
from step_audio.train.precision import autocast
from vocoder.f0 import CONTEXT_FRAMES as PITCH_FRAMES
from vocoder.hift import HiftConfig, HiftGenerator
from vocoder.mel import MelConfig, log_mel

NANO: Final = HiftConfig(
    base_channels=128,
    f0_channels=128,
    # Two dilations, not three: the real-time factor on one core stays below 0.06.
    resblock_dilation_sizes=((1, 3), (1, 3), (1, 3)),
    source_resblock_dilation_sizes=((1, 3), (1, 3)),
)
HELD_OUT = 40
_TYPICAL_HZ = 100.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run trains. `*_until` and `*_from` are shares of the budget.

    `pitch_polish` is the share of the pitch's learning rate that remains once it is trained with
    the sound, on batches a tenth the size.
    """

    batch: int = 4
    frames: int = 48
    learning_rate: float = 8e-4
    pitch_learning_rate: float = 2e-3
    pitch_polish: float = 0.1
    pitch_batch: int = 12
    pitch_frames: int = 160
    pitch_noise: float = 0.3
    pitch_until: float = 0.05
    noise_from: float = 0.4
    noise_max: float = 0.1
    critics_from: float = 0.65
    critic_learning_rate: float = 4e-4
    seed: int = 1


class HiftTrainer:
    """One generator, its critics, and the step that improves them."""

    def __init__(self, settings: Settings, corpus: Corpus, device: torch.device) -> None:
        self.settings, self.device, self.mel = settings, device, MelConfig()
        torch.manual_seed(settings.seed)
        self.generator = HiftGenerator(NANO).to(device)
        self.critics = Critics().to(device)
        self.distance = SpectralDistance(self.mel).to(device)
        _start_at_speech(self.generator)
        self.sampler = CropSampler(corpus, self.mel, held_out=HELD_OUT)
        pitch = list(self.generator.f0_predictor.parameters())
        known = {id(parameter) for parameter in pitch}
        rest = [p for p in self.generator.parameters() if id(p) not in known]
        self.pitch_scale = settings.pitch_learning_rate / settings.learning_rate
        critics_scale = settings.critic_learning_rate / settings.learning_rate
        self.optimizer = torch.optim.AdamW(
            [
                {"params": pitch, "scale": self.pitch_scale},
                {"params": rest, "scale": 1.0},
                {"params": list(self.critics.parameters()), "scale": critics_scale},
            ],
            lr=settings.learning_rate,
            betas=(0.8, 0.99),
            weight_decay=0.01,
        )

    def schedule(self, fraction: float) -> None:
        """Slow the pitch down once the sound is trained as well."""
        polish = self.settings.pitch_polish if fraction >= self.settings.pitch_until else 1.0
        self.optimizer.param_groups[0]["scale"] = self.pitch_scale * polish

    def step(self, index: int, fraction: float) -> dict[str, float]:
        """Make one step at `fraction` of the budget; return its losses by name."""
        rng = np.random.default_rng((self.settings.seed, index))
        self.optimizer.zero_grad(set_to_none=True)
        if fraction < self.settings.pitch_until:
            return self._pitch_step(rng)
        return self._sound_step(rng, index, fraction)

    def _pitch_step(self, rng: np.random.Generator) -> dict[str, float]:
        settings = self.settings
        wav, f0 = self.sampler.draw(settings.pitch_batch, settings.pitch_frames, rng)
        f0 = f0.to(self.device)
        mel = self._noisy(
            log_mel(wav.to(self.device), self.mel, padded=True), rng, settings.pitch_noise
        )
        loss = F.l1_loss(self.generator.f0_predictor(mel), f0)
        torch.autograd.backward(loss)
        self._update(self.generator.f0_predictor)
        return {"f0_hz": loss.item()}

    def _sound_step(
        self, rng: np.random.Generator, index: int, fraction: float
    ) -> dict[str, float]:
        settings = self.settings
        real, f0 = self.sampler.draw(settings.batch, settings.frames, rng)
        real = real.to(self.device)
        mel = log_mel(real, self.mel, padded=True)
        if fraction >= settings.noise_from:
            mel = self._noisy(mel, rng, settings.noise_max)
        heard_f0 = self.generator.f0_predictor(mel)
        made = self._generate(mel, heard_f0.detach(), torch.Generator().manual_seed(index))
        losses = self.distance(made, real, self.mel.margin_samples)
        # The crop's own ends lack the context that the pitch of a frame is heard from.
        inside = slice(PITCH_FRAMES, -PITCH_FRAMES)
        pitch = F.l1_loss(heard_f0[:, inside], f0.to(self.device)[:, inside])
        total = losses.total + pitch / _TYPICAL_HZ
        metrics = _metrics(losses) | {"f0_hz": pitch.item()}
        if fraction >= settings.critics_from:
            inner = real[:, self.mel.margin_samples : -self.mel.margin_samples]
            judged, taught = self._judge(made, inner)
            total = total + judged
            torch.autograd.backward(taught)
            metrics |= {"critics": taught.item(), "judged": judged.item()}
        torch.autograd.backward(total)
        self._update(self.generator)
        return metrics

    def _generate(self, mel: Tensor, f0: Tensor, generator: torch.Generator) -> Tensor:
        source = self.generator.draw_source(f0, generator)
        with autocast(self.device.type):
            magnitude, phase = self.generator.spectrum(mel, source)
        return self.generator.stft.synthesise(magnitude, phase)

    def _judge(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return (loss of the generator by the critics, loss of the critics)."""
        with autocast(self.device.type):
            said_real: Verdicts = self.critics(real)
            said_fake: Verdicts = self.critics(made.detach())
            taught = critic_loss(said_real.scores, said_fake.scores)
            self.critics.requires_grad_(requires_grad=False)
            said_made: Verdicts = self.critics(made)
            self.critics.requires_grad_(requires_grad=True)
            judged = persuasion_loss(said_made.scores)
            matched = feature_loss(said_real.features, said_made.features)
        return 0.5 * judged.float() + matched.float(), taught.float()

    def _noisy(self, mel: Tensor, rng: np.random.Generator, most: float) -> Tensor:
        """Return the mel with a little noise, as mels of the flow model are not exact."""
        level = torch.from_numpy(rng.uniform(0.0, most, (len(mel), 1, 1)).astype(np.float32))
        noise = torch.from_numpy(rng.standard_normal(tuple(mel.shape)).astype(np.float32))
        return mel + (level * noise).to(mel.device)

    def _update(self, module: nn.Module) -> None:
        norm = nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        if torch.isfinite(norm):
            self.optimizer.step()


def _metrics(losses: SpectralLosses) -> dict[str, float]:
    return {
        "converge": losses.convergence.item(),
        "log_mag": losses.log_magnitude.item(),
        "mel": losses.mel.item(),
    }


def _start_at_speech(generator: HiftGenerator) -> None:
    """Start the pitch near speech and the magnitudes near those of quiet sound."""
    classifier, post = generator.f0_predictor.classifier, generator.conv_post
    bins = generator.config.istft_n_fft // 2 + 1
    with torch.no_grad():
        classifier.weight.mul_(_TYPICAL_HZ)
        classifier.bias.fill_(_TYPICAL_HZ)
        post.bias[:bins].fill_(-4.0)
        generator.m_source.l_linear.weight.fill_(1.0)


def export(generator: HiftGenerator, out: Path) -> Path:
    """Write `hift.safetensors` and its config `hift.json` into `out`; return the former."""
    path = out / "hift.safetensors"
    tensors = {k: v.detach().float().cpu().contiguous() for k, v in generator.state_dict().items()}
    save_file(tensors, str(path))
    path.chmod(0o644)  # safetensors writes for the owner only; servers run as someone else
    values: dict[str, Any] = asdict(generator.config)
    path.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return path


def train(out: Path, budget: Budget, settings: Settings, corpus: Corpus, device_name: str) -> Path:
    """Train to the end of the budget, resuming if `out` holds a checkpoint; return the weights."""
    device = pick_device(device_name)
    trainer = HiftTrainer(settings, corpus, device)
    run = TrainingRun(
        out,
        {"generator": trainer.generator, "critics": trainer.critics},
        trainer.optimizer,
        budget,
    )
    run.resume()
    try:
        while not run.done:
            trainer.schedule(run.fraction)
            run.set_learning_rate(settings.learning_rate, warm_steps=50)
            run.advance(trainer.step(run.step, run.fraction))
    finally:
        run.save()  # a stopped run loses nothing
    return export(trainer.generator, out)


def main(argv: list[str] | None = None) -> int:
    """Parse, speak the corpus if there is none, train, export."""
    parser = argparse.ArgumentParser(
        prog="python -m step_audio.nano.training.hift", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, log and weights")
    parser.add_argument("--minutes", type=float, default=35.0, help="wall-clock budget")
    parser.add_argument("--steps", type=int, help="budget in steps instead")
    parser.add_argument("--speech-minutes", type=float, default=40.0, help="corpus size")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a few steps on a minute of speech")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    settings, budget = Settings(), Budget(args.minutes, args.steps)
    speech_minutes = args.speech_minutes
    if args.smoke:
        settings = Settings(batch=2, frames=24, pitch_batch=2, pitch_until=0.3)
        budget, speech_minutes = Budget(steps=8), 2.0
    started = time.monotonic()
    corpus = build_corpus(args.out / "corpus", speech_minutes, settings.seed, MelConfig())
    print(f"speech: {len(corpus.texts)} utterances, {time.monotonic() - started:.0f} s", flush=True)
    print(train(args.out, budget, settings, corpus, args.device))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
