"""HiFT: log-mel to waveform with a harmonic source, a convolutional filter and an iSTFT head.

Source: HiFT-Net (arXiv:2309.09493) as published with CosyVoice (arXiv:2407.05407).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from step_audio.core.types import MEL_BANDS
from vocoder.f0 import F0Predictor
from vocoder.grid import SAMPLE_RATE_HZ
from vocoder.source import HarmonicSource, draw_phase
from vocoder.stft import ShortStft
from vocoder.weight_norm import NormedConv1d, NormedConvTranspose1d

_LAST_SLOPE = 0.01
_ALPHA_EPS = 1e-9
_PRE_KERNEL = _POST_KERNEL = 7

Dilations = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class HiftConfig:
    """Trained facts of a waveform generator; the defaults are the published ones."""

    in_channels: int = MEL_BANDS
    base_channels: int = 512
    nb_harmonics: int = 8
    sampling_rate: int = SAMPLE_RATE_HZ
    nsf_alpha: float = 0.1
    nsf_sigma: float = 0.003
    nsf_voiced_threshold: float = 10.0
    upsample_rates: tuple[int, ...] = (8, 8)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16)
    istft_n_fft: int = 16
    istft_hop_len: int = 4
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: Dilations = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_resblock_kernel_sizes: tuple[int, ...] = (7, 11)
    source_resblock_dilation_sizes: Dilations = ((1, 3, 5), (1, 3, 5))
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    f0_channels: int = 512

    @property
    def hop_size(self) -> int:
        """Waveform samples per mel frame."""
        return math.prod(self.upsample_rates) * self.istft_hop_len

    @property
    def source_strides(self) -> tuple[int, ...]:
        """Source STFT frames per step of each level, coarse level first."""
        rates = self.upsample_rates
        return tuple(math.prod(rates[level + 1 :]) for level in range(len(rates)))


class Snake(nn.Module):
    """x + sin(ax)^2 / a with one trained a per channel. Source: arXiv:2006.08195."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None].to(x.dtype)
        return x + torch.sin(x * alpha).square() / (alpha + _ALPHA_EPS)


class ResBlock(nn.Module):
    """Residual pairs of convolutions, the first of each pair dilated. Keeps (B, C, T)."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            NormedConv1d(channels, channels, kernel_size, dilation) for dilation in dilations
        )
        self.convs2 = nn.ModuleList(
            NormedConv1d(channels, channels, kernel_size) for _ in dilations
        )
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for conv1, conv2, snake1, snake2 in zip(
            self.convs1, self.convs2, self.activations1, self.activations2, strict=True
        ):
            x = x + conv2(snake2(conv1(snake1(x))))
        return x


class HiftGenerator(nn.Module):
    """Log-mel to waveform. State-dict names are those of the published `hift.pt`.

    Attributes:
        wave: what streams call: `decode`, or a program that does the same.
    """

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.config = config
        self.wave: Callable[[Tensor, Tensor], Tensor] = self.decode
        base, bins = config.base_channels, config.istft_n_fft + 2
        widths = [base // 2 ** (level + 1) for level in range(len(config.upsample_rates))]
        self.m_source = HarmonicSource(
            config.sampling_rate,
            config.nb_harmonics + 1,
            config.hop_size,
            alpha=config.nsf_alpha,
            sigma=config.nsf_sigma,
            voiced_threshold=config.nsf_voiced_threshold,
        )
        self.conv_pre = NormedConv1d(config.in_channels, base, _PRE_KERNEL)
        self.ups = nn.ModuleList(
            NormedConvTranspose1d(wide, narrow, kernel, rate)
            for wide, narrow, kernel, rate in zip(
                [base, *widths[:-1]],
                widths,
                config.upsample_kernel_sizes,
                config.upsample_rates,
                strict=True,
            )
        )
        self.source_downs = nn.ModuleList(
            nn.Conv1d(bins, width, 1)
            if stride == 1
            else nn.Conv1d(bins, width, stride * 2, stride, padding=stride // 2)
            for width, stride in zip(widths, config.source_strides, strict=True)
        )
        self.source_resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width, kernel, dilations in zip(
                widths,
                config.source_resblock_kernel_sizes,
                config.source_resblock_dilation_sizes,
                strict=True,
            )
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width in widths
            for kernel, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            )
        )
        self.conv_post = NormedConv1d(widths[-1], bins, _POST_KERNEL)
        self.f0_predictor = F0Predictor(config.in_channels, config.f0_channels)
        self.stft = ShortStft(config.istft_n_fft, config.istft_hop_len)

    def spectrum(self, mel: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return magnitude and phase, each (B, n_fft // 2 + 1, T * hop / istft_hop + 1).

        Args:
            mel: log-mel, (B, 80, T).
            source: excitation, (B, 1, T * hop).
        """
        excitation = self.stft.analyse(source[:, 0])
        x = self.conv_pre(mel)
        kernels, last = len(self.config.resblock_kernel_sizes), len(self.ups) - 1
        for level, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.config.lrelu_slope))
            if level == last:
                x = F.pad(x, (1, 0), mode="reflect")  # the centred STFT has one frame more
            x = x + self.source_resblocks[level](self.source_downs[level](excitation))
            blocks = self.resblocks[level * kernels : (level + 1) * kernels]
            x = torch.stack([block(x) for block in blocks]).mean(dim=0)
        x = self.conv_post(F.leaky_relu(x, _LAST_SLOPE)).float()
        bins = self.config.istft_n_fft // 2 + 1
        return x[:, :bins].exp(), x[:, bins:].sin()

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Return the waveform, (B, T * hop), of mel (B, 80, T) and source (B, 1, T * hop)."""
        wav = self.stft.synthesise(*self.spectrum(mel, source))
        return wav.clamp(-self.config.audio_limit, self.config.audio_limit)

    def draw_source(self, f0: Tensor, generator: torch.Generator) -> Tensor:
        """Return the excitation, (B, 1, T * hop), of pitch (B, T); `generator` draws the rest."""
        batch, frames = f0.shape
        harmonics = self.config.nb_harmonics + 1
        phase = draw_phase(batch, harmonics, generator)
        noise = torch.randn(batch, harmonics, frames * self.config.hop_size, generator=generator)
        source: Tensor = self.m_source(f0, phase.to(f0.device), noise.to(f0.device))
        return source

    @torch.inference_mode()
    def inference(
        self, mel: Tensor, generator: torch.Generator, source_head: Tensor | None = None
    ) -> Tensor:
        """Return the waveform of a whole utterance.

        Args:
            mel: log-mel, (B, 80, T).
            generator: CPU generator that phases and noise are drawn from.
            source_head: (B, 1, S) that replaces the first S samples of the source.

        Returns:
            (B, T * hop) in [-audio_limit, audio_limit].
        """
        source = self.draw_source(self.f0_predictor(mel), generator)
        if source_head is not None:
            source[:, :, : source_head.shape[2]] = source_head
        return self.decode(mel, source)


def context_frames(config: HiftConfig) -> int:
    """Return the mel frames on either side that `decode` needs to be exact within a frame.

    Counts the reach of mel and source through every layer, in frames of the short STFT. The
    pitch has its own reach, `vocoder.f0.CONTEXT_FRAMES`.
    """
    overlap = config.istft_n_fft // (2 * config.istft_hop_len)
    trunk = overlap + _POST_KERNEL // 2
    source = 0
    for level in reversed(range(len(config.upsample_rates))):
        step, rate = config.source_strides[level], config.upsample_rates[level]
        blocks = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        trunk += step * max(_block_reach(kernel, dilations) for kernel, dilations in blocks)
        side = _block_reach(
            config.source_resblock_kernel_sizes[level],
            config.source_resblock_dilation_sizes[level],
        )
        downsampling = 0 if step == 1 else step * 3 // 2
        source = max(source, trunk + step * side + downsampling + overlap)
        # 1: the mirrored frame that the finest level starts with.
        trunk += 1 + step * (config.upsample_kernel_sizes[level] + rate) // 2
    fine = math.prod(config.upsample_rates)
    trunk += fine * (_PRE_KERNEL // 2)
    return math.ceil(max(trunk, source + 1) / fine)


def _block_reach(kernel_size: int, dilations: tuple[int, ...]) -> int:
    return sum((kernel_size // 2) * (dilation + 1) for dilation in dilations)
