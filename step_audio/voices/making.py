"""A prepared sample into a `Voice`: its tokens, its mel and its speaker vector.

How is a fact of the weights. "reference", as the published script does: tokens in one pass over
the levelled sound without the silence around it; mel and speaker vector from the recording as it
is, so that tokens and mel do not cover the same time. "stream", for models that were trained so:
all three from the same prepared samples, tokens as a live question is heard. A model without
speaker encoder borrows the vector of that one of its own voices under which its flow explains the
sample best.

Source of "reference": stepfun-ai/Step-Audio, tts.py, tokenizer.py and utils.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from step_audio.core.errors import AudioError, InputError
from step_audio.core.ports import AudioTokenizer
from step_audio.core.resampling import resample, resample_input
from step_audio.core.types import GROUP_MS, Pcm, TokenGroup, Voice
from step_audio.core.vocab import vocoder_codes
from vocoder.flow import FlowBatch, FlowModel
from vocoder.grid import GROUP_SAMPLES, SAMPLE_RATE_HZ, frames_until
from vocoder.mel import MelConfig, log_mel

ENCODER_RATE_HZ = 16_000
Examples = Literal["reference", "stream"]


class SpeakerEncoderPort(Protocol):
    """Sound at 16 kHz to a speaker vector, (192,)."""

    def embed(self, pcm: Pcm) -> NDArray[np.float32]: ...


class ExampleTokenizer(AudioTokenizer, Protocol):
    """An audio tokenizer that can also take a whole clip in one pass."""

    def encode_reference(self, pcm: Pcm, *, trim: bool) -> list[TokenGroup]: ...


class VoiceMaker:
    """Makes voices for one set of weights. Shared and immutable.

    Args:
        tokenizer: the ear whose tokens the LM and the flow were trained with.
        flow: judges the built-in voices when there is no encoder.
        encoder: of the published folder (`campplus.onnx`).
        built_in: whose vectors may be borrowed; not empty.
        examples: how an example is made, see above.
    """

    def __init__(
        self,
        tokenizer: ExampleTokenizer,
        flow: FlowModel,
        encoder: SpeakerEncoderPort | None,
        built_in: Sequence[Voice],
        *,
        examples: Examples = "stream",
    ) -> None:
        self.examples: Examples = examples
        self._tokenizer, self._flow = tokenizer, flow
        self._encoder, self._built_in = encoder, tuple(built_in)

    def make(self, name: str, text: str, pcm: Pcm, rate_hz: int) -> tuple[Voice, str]:
        """Return the voice and a sentence on where its speaker vector comes from.

        Args:
            name: of the voice.
            text: what is said.
            pcm: the sound of a `VoiceSample` that `examples` asks for, (T,) at `rate_hz`.

        Raises:
            AudioError: shorter than a group.
            InputError: no speaker encoder, and no voice to borrow from.
        """
        ear_hz = self._tokenizer.sample_rate_hz
        sound = resample(pcm, rate_hz, SAMPLE_RATE_HZ)
        if self.examples == "reference":
            heard = resample(pcm, rate_hz, ear_hz)
            groups = tuple(self._tokenizer.encode_reference(heard, trim=True))
            mel = log_mel(torch.from_numpy(sound)[None])[0].T.numpy().copy()
        else:
            groups = self._groups(resample_input(pcm, rate_hz, ear_hz))
            mel = prompt_mel(sound, len(groups))
        if not groups:
            raise AudioError(f"{len(pcm)} samples hold no whole group of 120 ms; give 3 s")
        if self._encoder is None:
            lender = self._nearest(groups, mel)
            vector, note = lender.embedding, f"no speaker encoder: speaker vector of {lender.name}"
        else:
            vector = self._encoder.embed(resample(pcm, rate_hz, ENCODER_RATE_HZ))
            note = "speaker vector measured by the speaker encoder"
        return Voice(name, vector.astype(np.float32), text, groups, mel), note

    def _groups(self, pcm: Pcm) -> tuple[TokenGroup, ...]:
        whole = len(pcm) // (self._tokenizer.sample_rate_hz * GROUP_MS // 1000)
        stage = self._tokenizer.open()
        return (*stage.push(pcm), *stage.flush())[:whole]

    def _nearest(self, groups: Sequence[TokenGroup], mel: NDArray[np.float32]) -> Voice:
        """Return the voice under which the flow predicts this mel best. Raises InputError: none."""
        if not self._built_in:
            raise InputError(
                "no speaker encoder (campplus.onnx) among the weights and no voice to borrow from; "
                "complete the download"
            )
        device = self._flow.input_embedding.weight.device
        tokens = torch.tensor([vocoder_codes(groups)] * _DRAWS, device=device)
        mels = torch.from_numpy(mel).to(device).expand(_DRAWS, -1, -1)
        known = torch.zeros(_DRAWS, dtype=torch.int64, device=device)

        def error(voice: Voice) -> float:
            vector = torch.from_numpy(voice.embedding).to(device).expand(_DRAWS, -1)
            # The same flow times and noise for each, and nobody else's draws are disturbed.
            with torch.inference_mode(), torch.random.fork_rng(enabled=True):
                torch.manual_seed(0)
                return float(self._flow.loss(FlowBatch(tokens, mels, vector, known)))

        return min(self._built_in, key=error)


_DRAWS = 8


def prompt_mel(pcm: Pcm, groups: int) -> NDArray[np.float32]:
    """Return the mel of the first `groups` groups of 22.05 kHz speech, (frames, 80) float32."""
    margin = MelConfig().margin_samples
    frames = frames_until(groups)
    # The last frame may reach beyond the sound: silence is what follows it.
    wanted = max(frames * MelConfig().hop_size, groups * GROUP_SAMPLES) + margin + 1
    pcm = np.pad(pcm, (0, max(0, wanted - len(pcm))))
    mel: NDArray[np.float32] = log_mel(torch.from_numpy(pcm)[None])[0, :, :frames].T.numpy().copy()
    return mel
