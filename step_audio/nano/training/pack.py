"""Gather what was trained into one weights folder, small enough to ship, and record it.

The LM becomes int8 (one scale a row); everything else is stored as float16 and computed as
float32. Run:

    python -m step_audio.nano.training.pack --trained build/nano --out step_audio/weights/nano
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from step_audio.core.vocab import Vocab
from step_audio.core.weights import Facts, record, write_facts
from step_audio.data.speakers import ANSWER_SPEAKERS
from step_audio.dialog.speakable.pronunciation import FILE as PRONUNCIATIONS
from step_audio.dialog.speakable.reading_domain import Pair, pairs_of_words
from step_audio.engine.step1 import Step1Config
from step_audio.engine.weights import save_step1
from step_audio.nano.domain import generate
from step_audio.nano.training.flow_shards import read_embeddings
from step_audio.nano.training.question_domain import write_questions

CONTEXT = 1536
SMALL = 1024
"""Elements up to which a tensor stays float32: norms and biases cost nothing."""


def halve_safetensors(source: Path, target: Path) -> None:
    """Copy tensors with their matrices as float16."""
    target.parent.mkdir(parents=True, exist_ok=True)
    tensors = load_file(str(source))
    save_file(
        {
            name: t.half() if t.dtype == torch.float32 and t.numel() > SMALL else t
            for name, t in tensors.items()
        },
        str(target),
    )


def halve_onnx(source: Path, target: Path) -> None:
    """Copy a graph with its large initializers as float16, each behind a cast to float32.

    onnxruntime folds the casts when it loads, so that computation stays in float32.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    model = onnx.load(str(source))
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        array = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or array.size <= SMALL:
            continue
        graph.initializer.remove(tensor)
        half = onnx.numpy_helper.from_array(array.astype(np.float16), f"{tensor.name}_half")
        graph.initializer.append(half)
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(target))


def pack_tokenizer(trained: Path, out: Path) -> None:
    """Write `tokenizer/`: both codebooks, and the speaker vector beside them."""
    source, target = trained / "hearing" / "export", out / "tokenizer"
    if not source.exists():
        source = trained / "tokenizers" / "export"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("linguistic.json", "am.mvn", "linguistic_tokenizer.npy"):
        shutil.copyfile(source / name, target / name)
    halve_safetensors(source / "linguistic.safetensors", target / "linguistic.safetensors")
    halve_onnx(source / "speech_tokenizer_v1.onnx", target / "speech_tokenizer_v1.onnx")
    speaker = trained / "speaker" / "export" / "campplus.onnx"
    if speaker.exists():
        halve_onnx(speaker, target / "campplus.onnx")


def pack_lm(trained: Path, out: Path) -> None:
    """Write `lm/`: int8 weights, their config, the text tokenizer, what it can read and answer."""
    source, target = trained / "lm" / "export", out / "lm"
    config = Step1Config.from_mapping(json.loads((source / "config.json").read_text()))
    save_step1(target, config, load_file(str(source / "model.safetensors")), int8=True)
    shutil.copyfile(trained / "lm-data" / "tokenizer.json", target / "tokenizer.json")
    if (trained / "lm-data" / PRONUNCIATIONS).exists():
        shutil.copyfile(trained / "lm-data" / PRONUNCIATIONS, target / PRONUNCIATIONS)
    pairs = sorted(answer_pairs())
    (target / "word_pairs.txt").write_text("".join(f"{a} {b}\n" for a, b in pairs), "utf-8")
    write_questions(out)


def answer_pairs(answers: int = 20_000, seed: int = 1) -> set[Pair]:
    """Return the pairs of words that answers of the training grammar hold; see `ReadingDomain`."""
    rng = random.Random(seed)
    return {pair for _ in range(answers) for pair in pairs_of_words(generate(rng, "train").answer)}


def pack_vocoder(trained: Path, out: Path, part: str) -> None:
    """Write one part, "flow" or "hift", of `vocoder/` with its config."""
    target = out / "vocoder"
    halve_safetensors(trained / part / f"{part}.safetensors", target / f"{part}.safetensors")
    shutil.copyfile(trained / part / f"{part}.json", target / f"{part}.json")


def pack_voices(trained: Path, out: Path) -> None:
    """Write `voices/`: the speaker vector of each answer voice, named without its engine."""
    vectors = read_embeddings(trained / "flow-data")
    for name in ANSWER_SPEAKERS:
        folder = out / "voices" / name.partition("-")[2]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "embedding.npy", vectors[name].astype(np.float32))


def pack(trained: Path, out: Path, start: Path | None = None) -> None:
    """Write every part that `trained` holds into `out`; the others stay those of `start`.

    Args:
        trained: folder of the stages.
        out: a weights folder, made if missing; may be `start`.
        start: packed weights that training went on from.
    """
    if start is not None and start.resolve() != out.resolve():
        shutil.copytree(start, out, dirs_exist_ok=True)
    if start is None or (trained / "hearing" / "export").exists():
        pack_tokenizer(trained, out)
    if start is None or (trained / "lm" / "export").exists():
        pack_lm(trained, out)
    for part in ("flow", "hift"):
        if start is None or (trained / part / f"{part}.safetensors").exists():
            pack_vocoder(trained, out, part)
    if start is None:
        pack_voices(trained, out)
        vocab = Vocab(**json.loads((trained / "lm-data" / "vocab.json").read_text()))
        write_facts(out, Facts(vocab, CONTEXT))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trained", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--from", dest="start", help="packed weights that training went on from")
    args = parser.parse_args(argv)
    trained, out = Path(args.trained), Path(args.out)
    pack(trained, out, args.start and Path(args.start))
    weights = record(out)
    print(f"{out}: {len(weights.files)} files, {weights.total_bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
