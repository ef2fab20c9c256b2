"""Train the flow decoder of nano: codes and a speaker vector to mel.

Run: python -m step_audio.nano.training.flow --data build/nano/flow-data --out build/nano/flow
Needs a folder written by nano.training.flow_data. Leaves `checkpoint.pt` (resumed from when
the command is repeated), `log.jsonl`, and at the end `flow.safetensors` with `flow.json`: the
running mean of the weights, which is what `vocoder.flow_loading.load_flow` reads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from step_audio.nano.training.flow_batches import MAX_GROUPS, FlowCrops, collate
from step_audio.nano.training.lm_embedding import semantic_digits
from step_audio.nano.training.tokenizer_nets import SEMANTIC_LEVELS
from step_audio.train.loop import Budget, TrainingRun
from step_audio.train.optimizers import for_layers
from step_audio.train.options import prepare, run_options
from step_audio.train.precision import autocast
from vocoder.flow import FlowBatch, FlowInput, FlowModel
from vocoder.flow_config import FlowConfig, from_dict, nano_flow
from vocoder.flow_loading import load_flow, save_flow

PRIOR_WEIGHT = 1.0


def train(args: argparse.Namespace) -> dict[str, float]:
    """Run to the end of the budget, resuming where a checkpoint is; then export and judge.

    Returns:
        What `judge` found.
    """
    device, out = prepare(args), Path(args.out)
    speakers = args.speakers.split(",") if args.speakers else None
    crops = FlowCrops(Path(args.data), args.seed, args.batch_frames, speakers)
    config = _config(args, crops)
    model = FlowModel(config)
    if args.start:
        model.load_state_dict(load_flow(Path(args.start)).state_dict())
    model.to(device)
    if args.centroids:
        place_embeddings(model, Path(args.centroids))
    if args.warm_start and not (out / "checkpoint.pt").exists():
        _warm_start(model, Path(args.warm_start))
    mean = AveragedModel(model, multi_avg_fn=partial(_lean, args.ema))
    optimizer = for_layers(model, [model.encoder, model.decoder])
    run = TrainingRun(
        out, {"model": model, "mean": mean}, optimizer, Budget(args.minutes, args.steps)
    )
    if run.resume():
        print(f"resumed at step {run.step}, {run.fraction:.0%} of the budget used")
        torch.manual_seed(args.seed + run.step)
        crops.rng = np.random.default_rng(args.seed + run.step)
    model.train()
    while not run.done:
        run.set_learning_rate(args.learning_rate)
        batch = to_device(crops.next(), device)
        with autocast(device.type):
            loss = model.loss(replace(batch, prior_weight=PRIOR_WEIGHT, guidance=args.guidance))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean.update_parameters(model)
        run.advance({"loss": float(loss.detach()), "norm": float(norm)})
    final = cast(FlowModel, mean.module).eval()
    save_flow(out / "flow.safetensors", final)
    result = judge(final, crops, device)
    print(json.dumps(result))
    return result


@torch.no_grad()
def _lean(decay: float, mean: Sequence[Tensor], new: Sequence[Tensor], seen: Tensor | int) -> None:
    """Move the mean weights towards the new ones, faster while few have been seen."""
    n = int(seen)
    torch._foreach_lerp_(list(mean), list(new), 1 - min(decay, (1 + n) / (10 + n)))


@torch.no_grad()
def place_embeddings(model: FlowModel, centroids: Path) -> None:
    """Begin with embeddings (V, D) in which codes that sound alike lie together.

    Random projections of what a code means: its centroid, or its scalar digits.
    """
    known = torch.from_numpy(np.load(centroids, allow_pickle=False))
    linguistic = (known - known.mean(0)) / known.std()
    generator = torch.Generator().manual_seed(0)
    at = 0
    for rows in (linguistic, semantic_digits(SEMANTIC_LEVELS) * 2 - 0.5):
        shape = (rows.shape[1], model.config.input_size)
        projection = torch.randn(shape, generator=generator) * rows.shape[1] ** -0.5
        model.input_embedding.weight[at : at + len(rows)] = rows @ projection
        at += len(rows)


def _warm_start(model: FlowModel, checkpoint: Path) -> None:
    """Take the decoder's weights of another run; its token side is learned anew."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["modules"]["model"]
    decoder = {k: v for k, v in state.items() if k.startswith(("decoder.", "spk_embed"))}
    model.load_state_dict(decoder, strict=False)


def to_device(batch: FlowBatch, device: torch.device) -> FlowBatch:
    """Return the batch on a device."""
    return FlowBatch(
        batch.tokens.to(device),
        batch.mel.to(device),
        batch.embedding.to(device),
        batch.known.to(device),
    )


def judge(model: FlowModel, crops: FlowCrops, device: torch.device) -> dict[str, float]:
    """Return the mean absolute error of generated mel on held-out utterances.

    `mel_error` is in nats, over up to 24 utterances of at most 3 s; `silence_error` is what
    predicting the mean mel of each utterance would cost.
    """
    errors, floors = [], []
    for number, item in enumerate(crops.held):
        groups = min(len(item.codes), MAX_GROUPS)
        batch = to_device(
            collate([item], [0], groups, np.zeros(1, np.int64), crops.embeddings), device
        )
        generator = torch.Generator().manual_seed(number)
        frames = batch.mel.shape[1]
        noise = torch.randn(model.config.output_size, frames, generator=generator).to(device)
        mel = model.generate(FlowInput(batch.tokens[0], batch.embedding[0], noise, frames))
        errors.append(float((mel - batch.mel[0]).abs().mean()))
        floors.append(float((batch.mel[0] - batch.mel[0].mean(0)).abs().mean()))
    return {"mel_error": float(np.mean(errors)), "silence_error": float(np.mean(floors))}


def _config(args: argparse.Namespace, crops: FlowCrops) -> FlowConfig:
    """Facts of this run; written at its first start, so that a resumed run has the same."""
    path = Path(args.out) / "config.json"
    if path.exists():
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    if args.start:
        config = load_flow(Path(args.start)).config
    else:
        centre, spread = crops.mel_statistics()
        config = replace(nano_flow(), mel_mean=round(centre, 3), mel_std=round(spread, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(config), indent=1) + "\n", encoding="utf-8")
    return config


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train."""
    parser = run_options(__doc__, minutes=35.0, learning_rate=1e-3)
    parser.add_argument("--data", required=True, help="folder of flow shards")
    parser.add_argument(
        "--from", dest="start", help="flow.safetensors to train on; tells the sizes"
    )
    parser.add_argument("--centroids", help="linguistic_tokenizer.npy, to begin with")
    parser.add_argument("--warm-start", help="checkpoint of another run, for its decoder")
    parser.add_argument("--speakers", help="only these, comma-separated")
    parser.add_argument("--batch-frames", type=int, default=2400, help="mel frames a step")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument(
        "--guidance",
        type=float,
        default=0.0,
        help="strength to learn into the velocity, for weights that are to do without",
    )
    parser.add_argument("--smoke", action="store_true", help="a few small steps, to try the path")
    args = parser.parse_args(argv)
    if args.smoke:
        args.steps, args.batch_frames = 6, 600
    train(args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
