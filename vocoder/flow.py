"""Flow-matching decoder: tokens and a speaker vector in, log-mel out.

The mel is the end of a path that starts at noise and follows the velocity field of
`vocoder.estimator` from flow time 0 to 1 in a few Euler steps. State-dict names are those of the
published `flow.pt`. Rates: 86.13 mel frames a second (22.05 kHz, hop 256).

Source: Lipman et al., arXiv:2210.02747; Matcha-TTS, arXiv:2309.03199; CosyVoice,
arXiv:2407.05407.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.errors import ShapeError
from vocoder.encoder import TokenEncoder
from vocoder.estimator import Estimator, Span
from vocoder.flow_config import FlowConfig
from vocoder.length_regulator import LengthRegulator

Velocity = Callable[[Tensor, Sequence[Tensor], Span, Tensor, Tensor], Tensor]
"""What `Estimator.step` takes and returns."""


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
        prior_weight: how much the token features are asked to be the mel themselves.
        guidance: see `FlowMatching.loss`.
    """

    tokens: Tensor
    mel: Tensor
    embedding: Tensor
    known: Tensor
    prior_weight: float = 0.0
    guidance: float = 0.0


def time_steps(n_steps: int) -> list[float]:
    """Return the n + 1 flow times of the cosine schedule, 0 to 1."""
    return [1 - math.cos(math.pi / 2 * i / n_steps) for i in range(n_steps + 1)]


class FlowMatching(nn.Module):
    """The path from noise to mel, and the loss that teaches its velocity.

    Attributes:
        velocity: what `forward` follows: the estimator, or a program that does the same.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.estimator = Estimator(config.estimator)
        self.velocity: Velocity = self.estimator.step

    def forward(
        self,
        noise: Tensor,
        mu: Tensor,
        spks: Tensor,
        cond: Tensor,
        n_steps: int,
        *,
        guidance: float | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Follow the path with Euler's method.

        Args:
            noise: start, (B, 80, T).
            mu: regulated token features, (B, 80, T).
            spks: projected speaker, (B, 80).
            cond: known mel or 0, (B, 80, T).
            n_steps: number of steps.
            guidance: instead of the config's.
            lengths: frames of each row, (B,), which then comes out as it would alone; None: T.

        Returns:
            Mel, (B, 80, T); beyond a row's length it is meaningless.
        """
        guidance = self.config.inference_cfg_rate if guidance is None else guidance
        span = Span(None)
        if lengths is not None:
            frame = torch.arange(mu.shape[-1], device=mu.device)
            span = Span((frame < lengths[:, None])[:, None].to(self.estimator.dtype), alone=True)
        if guidance > 0:  # conditioned and unconditioned rows in one forward pass
            mu, spks, cond = (torch.cat((v, torch.zeros_like(v))) for v in (mu, spks, cond))
            span = Span(None if span.mask is None else span.mask.repeat(2, 1, 1), span.alone)
        mu, spks, cond = (v.to(self.estimator.dtype) for v in (mu, spks, cond))
        x, times = noise, time_steps(n_steps)
        # What a step adds for its time is the same for every row: computed for all steps at once.
        added = self.estimator.times(x.new_tensor(times[:-1]))
        for step, (t, following) in enumerate(pairwise(times)):
            rows = x.to(self.estimator.dtype).repeat(len(mu) // len(x), 1, 1)
            at = [table[step : step + 1] for table in added]
            velocity = self.velocity(torch.cat((rows, mu), dim=1), at, span, spks, cond)
            velocity = velocity.to(x)
            if guidance > 0:
                given, free = velocity.chunk(2)
                velocity = (1 + guidance) * given - guidance * free
            x = x + (following - t) * velocity
        return x

    def loss(
        self,
        mel: Tensor,
        mu: Tensor,
        spks: Tensor,
        cond: Tensor,
        wanted: Tensor,
        *,
        guidance: float = 0.0,
    ) -> Tensor:
        """Return the mean squared error of the velocity at a random flow time per row.

        Args:
            mel, mu, cond: (B, 80, T).
            spks: (B, 80).
            wanted: 1 where the error counts, (B, 1, T).
            guidance: strength r that the conditioned velocity learns to contain, so that one pass
                gives what two would. Source: Tang et al. 2025, arXiv:2502.12154.

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
        target = mel - shrink * noise
        if guidance > 0:
            with torch.no_grad():
                mu, spks, cond = (torch.zeros_like(v) for v in (mu, spks, cond))
                free = self.estimator(x, torch.ones_like(wanted), mu, t, spks=spks, cond=cond)
                # With this share of its own lead added, v = (1+r) target - r free stands still.
                share = guidance / (1 + guidance) * keep[:, None, None]
                target = target + share * (velocity - free).float()
        error = (velocity.float() - target) ** 2 * wanted
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

    def generate(
        self, window: FlowInput, n_steps: int | None = None, guidance: float | None = None
    ) -> Tensor:
        """Generate the mel of a window.

        Args:
            window: tokens, speaker, noise and what is known already.
            n_steps: Euler steps; None: as many as the weights were judged at.
            guidance: strength r; None: the weights'. 0 halves the cost.

        Returns:
            Log-mel of the target, (frames, 80); its first K frames approximate `known`.

        Raises:
            ShapeError: the lengths do not fit each other.
        """
        return self.generate_all([window], n_steps, guidance)[0]

    @torch.inference_mode()
    def generate_all(
        self,
        windows: Sequence[FlowInput],
        n_steps: int | None = None,
        guidance: float | None = None,
    ) -> list[Tensor]:
        """Generate windows of any lengths in one pass; each comes out as it would alone.

        Args, result and errors: as of `generate`.
        """
        prepared = [self._prepare(window) for window in windows]
        lengths = [window.noise.shape[1] for window in windows]
        longest = max(lengths)
        noise, mu, cond = (
            torch.stack([F.pad(part, (0, longest - part.shape[1])) for part in parts])
            for parts in zip(
                *((w.noise, *p) for w, p in zip(windows, prepared, strict=True)), strict=True
            )
        )
        same = min(lengths) == longest
        mel: Tensor = self.decoder(
            noise,
            mu,
            self.speaker(torch.stack([window.embedding for window in windows])),
            cond,
            self.config.n_steps if n_steps is None else n_steps,
            guidance=guidance,
            lengths=None if same else torch.tensor(lengths, device=noise.device),
        )
        return [
            row[:, length - self._target(window) : length].T * self.config.mel_std
            + self.config.mel_mean
            for row, window, length in zip(mel, windows, lengths, strict=True)
        ]

    def _target(self, window: FlowInput) -> int:
        return self.frames(len(window.tokens)) if window.frames is None else window.frames

    def _prepare(self, window: FlowInput) -> tuple[Tensor, Tensor]:
        """Return token features and known mel of prompt and target, each (80, P + frames)."""
        prompt_mel, prompt_tokens = self._prompt(window)
        n_prompt, frames = len(prompt_mel), self._target(window)
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
        return mu[0].T, cond.T

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
        loss: Tensor = self.decoder.loss(
            mel, mu, self.speaker(batch.embedding), cond, 1 - known, guidance=batch.guidance
        )
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
