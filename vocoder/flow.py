"""Flow-matching decoder: tokens and a speaker vector in, log-mel out.

The mel is the end of a path that starts at noise and follows the velocity field of
`vocoder.estimator` from flow time 0 to 1 in a few Euler steps. State-dict names are those of the
published `flow.pt`. Rates: 86.13 mel frames a second (22.05 kHz, hop 256).

Source: Lipman et al., arXiv:2210.02747; Matcha-TTS, arXiv:2309.03199; CosyVoice,
arXiv:2407.05407.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.errors import ShapeError
from vocoder.encoder import TokenEncoder
from vocoder.estimator import Estimator
from vocoder.flow_config import FlowConfig
from vocoder.length_regulator import LengthRegulator


@dataclass(frozen=True, slots=True)
class FlowInput:
    """What one window is generated from; all on the model's device.

    Attributes:
        tokens: vocoder codes of the target, (N,) int64, N >= 1.
        embedding: speaker vector, (E,).
        noise: start of the path for prompt and target frames, (80, P + frames).
        frames: mel frames of the target; None: `FlowModel.frames(N)`.
        known: mel of the first K target frames, (K, 80), generated before.
        prompt_tokens: codes of the voice's prompt, (M,) int64.
        prompt_mel: its mel, (P, 80).
    """

    tokens: Tensor
    embedding: Tensor
    noise: Tensor
    frames: int | None = None
    known: Tensor | None = None
    prompt_tokens: Tensor | None = None
    prompt_mel: Tensor | None = None


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """Training crops of equal length.

    Attributes:
        tokens: vocoder codes, (B, N) int64.
        mel: log-mel, (B, T, 80).
        embedding: speaker vectors, (B, E).
        known: leading frames given to the model as condition, (B,) int64, 0 <= known < T.
    """

    tokens: Tensor
    mel: Tensor
    embedding: Tensor
    known: Tensor
    prior_weight: float = 0.0


def time_steps(n_steps: int) -> list[float]:
    """Return the n + 1 flow times of the cosine schedule, 0 to 1."""
    return [1 - math.cos(math.pi / 2 * i / n_steps) for i in range(n_steps + 1)]


class FlowMatching(nn.Module):
    """The path from noise to mel, and the loss that teaches its velocity."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.estimator = Estimator(config.estimator)

    def forward(
        self, noise: Tensor, mu: Tensor, spks: Tensor, cond: Tensor, n_steps: int
    ) -> Tensor:
        """Follow the path with Euler's method.

        Args:
            noise: start, (1, 80, T).
            mu: regulated token features, (1, 80, T).
            spks: projected speaker, (1, 80).
            cond: known mel or 0, (1, 80, T).
            n_steps: number of steps.

        Returns:
            Mel, (1, 80, T).
        """
        guidance = self.config.inference_cfg_rate
        if guidance > 0:  # conditioned and unconditioned row in one forward pass
            mu, spks, cond = (torch.cat((v, torch.zeros_like(v))) for v in (mu, spks, cond))
        mask = mu.new_ones((mu.shape[0], 1, mu.shape[-1]))
        x, times = noise, time_steps(n_steps)
        for t, following in pairwise(times):
            rows = x.expand(mu.shape[0], -1, -1)
            at = x.new_full((len(rows),), t)
            velocity = self.estimator(rows, mask, mu, at, spks=spks, cond=cond)
            if guidance > 0:
                velocity = (1 + guidance) * velocity[:1] - guidance * velocity[1:]
            x = x + (following - t) * velocity
        return x

    def loss(self, mel: Tensor, mu: Tensor, spks: Tensor, cond: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean squared error of the velocity at a random flow time per row.

        Args:
            mel, mu, cond: (B, 80, T).
            spks: (B, 80).
            wanted: 1 where the error counts, (B, 1, T).

        Returns:
            Scalar.
        """
        rows = mel.shape[0]
        t = 1 - torch.cos(torch.rand(rows, device=mel.device) * math.pi / 2)
        keep = (torch.rand(rows, device=mel.device) > self.config.training_cfg_rate).to(mel)
        mu, cond, spks = mu * keep[:, None, None], cond * keep[:, None, None], spks * keep[:, None]
        noise, shrink = torch.randn_like(mel), 1 - self.config.sigma_min
        at = t[:, None, None]
        x = (1 - shrink * at) * noise + at * mel
        velocity = self.estimator(x, torch.ones_like(wanted), mu, t, spks=spks, cond=cond)
        error = (velocity.float() - (mel - shrink * noise)) ** 2 * wanted
        mean: Tensor = error.sum() / (wanted.sum() * mel.shape[1]).clamp(min=1)
        return mean


class FlowModel(nn.Module):
    """Tokens to mel. Shared and immutable once loaded."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        # The default initialisation, written out: on the meta device nn.Embedding's own would
        # import torch's compiler, two seconds of every start.
        table = torch.randn(config.vocab_size, config.input_size)
        self.input_embedding = nn.Embedding(config.vocab_size, config.input_size, _weight=table)
        self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, config.output_size)
        self.encoder = TokenEncoder(config.encoder)
        self.encoder_proj = nn.Linear(config.encoder.output_size, config.output_size)
        self.length_regulator = LengthRegulator(config.length_regulator)
        self.decoder = FlowMatching(config)

    def frames(self, n_tokens: int) -> int:
        """Return the mel frames of n tokens, rounded down as the reference does."""
        return int(n_tokens / self.config.input_frame_rate * 22050 / 256)

    def speaker(self, embedding: Tensor) -> Tensor:
        """Project speaker vectors of any length, (B, E) -> (B, 80)."""
        out: Tensor = self.spk_embed_affine_layer(F.normalize(embedding, dim=1))
        return out

    def features(self, tokens: Tensor) -> Tensor:
        """Encode codes, (B, N) -> (B, N, 80) at token rate. Negative codes count as 0."""
        out: Tensor = self.encoder_proj(self.encoder(self.input_embedding(tokens.clamp(min=0))))
        return out

    @torch.inference_mode()
    def generate(self, window: FlowInput, n_steps: int | None = None) -> Tensor:
        """Generate the mel of a window.

        Args:
            window: tokens, speaker, noise and what is known already.
            n_steps: Euler steps; None: as many as the weights were judged at.

        Returns:
            Log-mel of the target, (frames, 80); its first K frames approximate `known`.

        Raises:
            ShapeError: the lengths do not fit each other.
        """
        prompt_mel, prompt_tokens = self._prompt(window)
        n_prompt = len(prompt_mel)
        frames = self.frames(len(window.tokens)) if window.frames is None else window.frames
        known = prompt_mel[:0] if window.known is None else window.known
        expected = (self.config.output_size, n_prompt + frames)
        if tuple(window.noise.shape) != expected or len(known) > frames or not len(window.tokens):
            raise ShapeError(
                f"noise {tuple(window.noise.shape)} for {expected}, {len(known)} known of "
                f"{frames} frames, {len(window.tokens)} tokens"
            )
        hidden = self.features(torch.cat((prompt_tokens, window.tokens))[None])
        split = len(prompt_tokens)
        mu = self.length_regulator((hidden[:, :split], n_prompt), (hidden[:, split:], frames))
        cond = F.pad(
            self._normalize(torch.cat((prompt_mel, known))), (0, 0, 0, frames - len(known))
        )
        mel: Tensor = self.decoder(
            window.noise[None],
            mu.transpose(1, 2),
            self.speaker(window.embedding[None]),
            cond.T[None],
            self.config.n_steps if n_steps is None else n_steps,
        )
        return mel[0, :, n_prompt:].T * self.config.mel_std + self.config.mel_mean

    def loss(self, batch: FlowBatch) -> Tensor:
        """Return the flow-matching loss over the frames that are not known.

        Draws flow times, noise and dropped conditions from torch's global generator.

        Returns:
            Scalar.
        """
        mel = self._normalize(batch.mel).transpose(1, 2)
        frame = torch.arange(mel.shape[-1], device=mel.device)
        known = (frame < batch.known[:, None])[:, None].to(mel)  # (B, 1, T)
        # Streaming conditions on its own output, which is not as clean as the data.
        roughness = 0.2 * torch.rand(len(mel), 1, 1, device=mel.device)
        cond = (mel + roughness * torch.randn_like(mel)) * known
        mu = self.length_regulator((self.features(batch.tokens), mel.shape[-1])).transpose(1, 2)
        loss: Tensor = self.decoder.loss(mel, mu, self.speaker(batch.embedding), cond, 1 - known)
        # mu has the mel's shape. Asking it to be the mel teaches the token encoder directly,
        # which the velocity alone does far more slowly (Grad-TTS, arXiv:2105.06337).
        prior = (mu.float() - mel).square().mean()
        total: Tensor = loss + batch.prior_weight * prior
        return total

    def _normalize(self, mel: Tensor) -> Tensor:
        return (mel - self.config.mel_mean) / self.config.mel_std

    def _prompt(self, window: FlowInput) -> tuple[Tensor, Tensor]:
        if window.prompt_mel is None or window.prompt_tokens is None:
            return window.noise.new_zeros((0, self.config.output_size)), window.tokens[:0]
        if not len(window.prompt_mel) or not len(window.prompt_tokens):
            return window.prompt_mel[:0], window.prompt_tokens[:0]
        return window.prompt_mel, window.prompt_tokens
