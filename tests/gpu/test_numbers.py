"""Each model on the device against arrays recorded from the public reference on a CPU.

Limits: float32 on CUDA sums in another order and its convolutions may use TF32 (10 bits of
mantissa), so 2e-3 of the RMS are allowed where the CPU has 1e-4; bfloat16 has 8 bits, and each
test states what that may cost.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from step_audio.core.config import load_profile
from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.core.weights import open_weights
from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.grammar import Grammar
from step_audio.engine.local import LocalEngine
from step_audio.engine.weights import load_step1
from tests.golden_checks import flow, linguistic, lm, vocoder
from tests.golden_checks.__main__ import DEFAULT
from tests.golden_checks.component import arrays, case_of, cases_with, relative_rms
from tokenizer.linguistic import LinguisticTokenizer
from vocoder.flow import FlowInput

FLOAT32, BFLOAT16 = 2e-3, 3e-2
NANO = open_weights(load_profile("nano").weights, "")
Model = TypeVar("Model", bound=nn.Module)


def on(device: str, model: Model) -> Model:
    """Return a copy on the device: the recorded models are shared."""
    return copy.deepcopy(model).to(device)


def kept(*names: str) -> dict[str, Tensor]:
    """Return a recorded file's tensors."""
    return arrays(DEFAULT.joinpath(*names[:-1]) / f"{names[-1]}.safetensors")


@pytest.mark.parametrize("clip", cases_with(linguistic.data(DEFAULT), "enc_out"))
def test_the_linguistic_encoder_hears_the_recorded_codes(clip: str, device: str) -> None:
    case = case_of(linguistic.data(DEFAULT), clip)
    encoder = on(device, linguistic.encoder(DEFAULT))
    out = linguistic.by_chunks(encoder, case["feats"][None].to(device))[0].cpu()
    assert relative_rms(out, case["enc_out"]) < FLOAT32
    recorded = linguistic.tokenizer(DEFAULT)
    here = LinguisticTokenizer(encoder, recorded._codebook, linguistic.cmvn(DEFAULT))
    stream, sound = here.open(), case["wav16k"].numpy()
    heard, expected = [*stream.push(sound), *stream.flush()], recorded.encode(sound).tolist()
    assert len(heard) == len(expected)
    # A frame between two centroids may fall to the other.
    wrong = sum(int(a != b) for a, b in zip(heard, expected, strict=True))
    assert wrong <= len(expected) // 50


def window(case: dict[str, Tensor], device: str) -> FlowInput:
    """Return the recorded input of the flow on the device."""
    here = {name: tensor.to(device) for name, tensor in case.items()}
    return FlowInput(
        tokens=here["token"][0],
        embedding=here["embedding"][0],
        noise=here["z"][0],
        prompt_tokens=here["prompt_token"][0],
        prompt_mel=here["prompt_feat"][0],
    )


@pytest.mark.parametrize(("precision", "limit"), [("float32", FLOAT32), ("bfloat16", BFLOAT16)])
def test_the_flow_makes_the_recorded_mel(precision: str, limit: float, device: str) -> None:
    model, recorded = on(device, flow.model(DEFAULT)), kept("vocoder", "flow", "token_to_mel")
    if precision == "bfloat16":
        model.decoder.estimator.bfloat16()
    for name in cases_with(recorded, "mel"):
        mel = model.generate(window(case_of(recorded, name), device)).cpu()
        assert relative_rms(mel.T[None], recorded[f"{name}.mel"]) < limit, name


@torch.inference_mode()
def test_hift_makes_the_recorded_sound(device: str) -> None:
    model, recorded = on(device, vocoder.hift(DEFAULT)), kept("vocoder", "hift", "data")
    for name in cases_with(recorded, "f0"):
        case = case_of(recorded, name)
        sound = model.decode(case["mel"].to(device), case["source"].to(device)).cpu()
        assert relative_rms(sound, case["wav"]) < FLOAT32, name


@torch.inference_mode()
def test_tokens_become_the_recorded_sound(device: str) -> None:
    flows, hift = on(device, flow.model(DEFAULT)), on(device, vocoder.hift(DEFAULT))
    recorded = kept("vocoder", "token_to_wav")
    mels = kept("vocoder", "flow", "token_to_mel")
    for name in cases_with(recorded, "wav"):
        mel = flows.generate(window(case_of(mels, name), device)).T[None]
        sound = hift.decode(mel, recorded[f"{name}.source"].to(device)).cpu()
        assert relative_rms(sound, recorded[f"{name}.wav"]) < 2 * FLOAT32, name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.inference_mode()
def test_the_lm_gives_the_recorded_logits(precision: str, device: str) -> None:
    """bfloat16 computes so on CUDA alone; a CPU keeps the weights and sums in float32."""
    tensors = arrays(DEFAULT / "lm_step1" / "weights.safetensors")
    half = precision == "bfloat16"
    decoder = Step1Decoder(lm.config(DEFAULT), tensors, "bfloat16" if half else "float32", device)
    recorded = kept("lm_step1", "data")
    for name in cases_with(recorded, "logits"):
        ids, wanted = recorded[f"{name}.ids"], recorded[f"{name}.logits"]
        if ids.dim() != 1:
            continue
        cache = decoder.new_cache()
        parts = [decoder.extend(piece[None], [cache]) for piece in torch.split(ids, 7)]
        got = decoder.logits(torch.cat(parts, dim=1)[0]).float().cpu()[-len(wanted) :]
        assert relative_rms(got, wanted) < (BFLOAT16 if half else FLOAT32), name


def written(precision: str, device: str) -> list[int]:
    """Return what nano's LM writes greedily after a fixed prompt."""
    vocab, model = NANO.facts.vocab, load_step1(NANO.folder / "lm")
    decoder = model.decoder("bfloat16" if precision == "bfloat16" else "float32", device)
    engine = LocalEngine(decoder, vocab)
    sampling = SamplingParams(0.0, max_tokens=64)
    prompt = (1, *range(8, 40), 4)
    request = GenerationRequest(prompt, sampling, frozenset({vocab.eot}), "r", form="answer")

    async def run() -> list[int]:
        ids = [token_id async for token_id in engine.generate(request)]
        await engine.aclose()
        return ids

    return asyncio.run(run())


def test_the_local_engine_writes_what_it_writes_on_the_cpu(device: str) -> None:
    wanted = written("float32", "cpu")
    assert len(wanted) > 8
    assert written("float32", device) == wanted
    # Eight bits decide otherwise where two ids are nearly as likely; the form still holds.
    half = written("bfloat16", device)
    assert len(half) > 8
    Grammar(NANO.facts.vocab, "answer").after(half)
