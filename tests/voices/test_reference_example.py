"""A voice's example against arrays recorded from the reference: tests/golden (README there).

Tokens come of the trimmed, levelled sound, `token_packing/CLIP.trimmed`; mel and speaker vector of
the whole recording, `vocoder/mel/CLIP.mel` and `speaker_embedding/CLIP.embedding`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from step_audio.core.audio import read_audio
from step_audio.core.errors import InputError
from step_audio.core.types import Recording
from step_audio.voices.making import VoiceMaker
from step_audio.voices.sample import prepare_sample
from step_audio.voices.speaker_encoder import SpeakerEncoder
from tests.tokenizer import golden
from tests.vocoder.test_stream import tiny_flow
from tokenizer.grouping import interleave
from tokenizer.loading import load_tokenizer
from tokenizer.stream import DualCodebookTokenizer

MEL = golden.arrays(golden.GOLDEN / "vocoder" / "mel" / "data.safetensors")
VECTORS = golden.arrays(golden.SPEAKER / "data.safetensors")
TRIMMED = golden.arrays(golden.PACKING / "preprocess.safetensors")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> DualCodebookTokenizer:
    folder = tmp_path_factory.mktemp("published")
    golden.write_published(folder)
    return load_tokenizer(folder)


def recording(path: Path) -> Recording:
    pcm, rate_hz = read_audio(path)
    return Recording(pcm[:, None], rate_hz)


@pytest.mark.parametrize("clip", ["zh_3", "en_2"])
def test_an_example_is_the_reference_s(tokenizer: DualCodebookTokenizer, clip: str) -> None:
    encoder = SpeakerEncoder(golden.SPEAKER / "campplus.onnx")
    maker = VoiceMaker(tokenizer, tiny_flow(), encoder, [], examples="reference")
    path = Path(golden.GOLDEN / "audio" / f"{clip}.wav")
    sample = prepare_sample(recording(path))
    voice, _ = maker.make("a", "words", sample.whole, sample.rate_hz)
    sound = TRIMMED[f"{clip}.trimmed"]
    codes = tokenizer.linguistic.encode(sound).tolist(), tokenizer.semantic.encode(sound).tolist()
    assert list(voice.prompt_groups) == interleave(*codes)
    want = MEL[f"{clip}.mel"].T
    assert voice.prompt_mel.shape == want.shape
    assert np.abs(voice.prompt_mel - want).max() < 2e-2
    assert np.abs(voice.embedding - VECTORS[f"{clip}.embedding"]).max() < 1e-3


def test_without_encoder_and_voices_the_missing_file_is_named(
    tokenizer: DualCodebookTokenizer,
) -> None:
    maker = VoiceMaker(tokenizer, tiny_flow(), None, [], examples="reference")
    sample = prepare_sample(recording(golden.GOLDEN / "audio" / "zh_3.wav"))
    with pytest.raises(InputError, match=r"campplus\.onnx"):
        maker.make("a", "words", sample.whole, sample.rate_hz)
