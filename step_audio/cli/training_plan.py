"""`plan --train`: on how many cards the training of a profile's model fits, and how long it takes.

Memory is that of `step_audio.train.memory`, which also refuses a run before it begins; time is
operations over what a card of that kind can do, times a share that is assumed. Nothing here was
measured on several GPUs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Final

from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.engine.plan import Gpu, gpu_of
from step_audio.engine.sizes import Sizes
from step_audio.engine.step1 import Step1Config
from step_audio.train import memory
from step_audio.train.lora import Lora

CARDS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
USED: Final = 0.35
"""Share of a card's arithmetic that training is assumed to reach."""
ADVICE: Final = """\
memory  = weights + gradients + Adam's two moments (each shared over the cards: FSDP, full shard)
          + gathered layers + activations + logits of a micro-batch; 10 % must stay free
          (weights that are trained, gradients and moments are float32, frozen ones bf16)
seconds = ids x parameters x {factor} operations / (cards x {flops:.0f}e12 x {used:g})
The share {used:g} is assumed, not measured. Of several processes only two on gloo were ever run
here, never NCCL: begin with a few steps."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One number of cards.

    Attributes:
        bytes: that a card needs, by what they are for.
        total: their sum, fixed costs included.
        fits: with a tenth to spare.
        hours: of the whole set; None where it does not fit.
    """

    cards: int
    bytes: dict[str, int]
    total: int
    fits: bool
    hours: float | None


def plan_training(args: argparse.Namespace, sizes: Sizes) -> int:
    """Print the table; 0 when some number of cards will do."""
    gpu = gpu_of(args.gpu)
    lora = Lora(args.lora) if args.lora else None
    if args.ids <= 0 or args.length < 1 or args.rows < 1:
        raise InputError("--ids, --length and --rows must be above 0")
    plans = [
        planned(
            sizes,
            gpu,
            cards,
            lora=lora,
            rows=args.rows,
            length=args.length,
            recompute=args.recompute,
            ids=args.ids,
        )
        for cards in CARDS
    ]
    if args.json:
        print(json.dumps([asdict(made) for made in plans]))
    else:
        name = load_profile(args.profile).model_name
        kind = f"LoRA {args.lora}" if lora else "all weights"
        print(
            f"{name}, {sizes.parameters / 1e9:.3g} B parameters, {kind}, {args.rows} rows of"
            f" {args.length} ids{', recomputed' if args.recompute else ''}, on {args.gpu}"
        )
        print(table(plans, gpu))
        said = ADVICE.format(
            factor=operations(lora=bool(lora), recompute=args.recompute),
            flops=gpu.flops / 1e12,
            used=USED,
        )
        print(f"{said}\n{advice(plans, lora=bool(lora), recompute=args.recompute)}")
    return 0 if any(made.fits for made in plans) else 1


def planned(
    sizes: Sizes,
    gpu: Gpu,
    cards: int,
    *,
    lora: Lora | None,
    rows: int,
    length: int,
    recompute: bool,
    ids: float,
) -> TrainingPlan:
    """Return what a card needs and how long the set takes.

    Args:
        cards: one process each.
        rows, length: of the micro-batch of a card.
        ids: of the set, all epochs.
    """
    need = memory.reckon(
        config_of(sizes),
        rows=rows,
        length=length,
        workers=cards,
        lora=lora,
        recompute=recompute,
    )
    fits = need.total * memory.SPARE <= gpu.memory
    work = ids * sizes.parameters * operations(lora=lora is not None, recompute=recompute)
    hours = work / (cards * gpu.flops * USED) / 3600
    return TrainingPlan(cards, asdict(need), need.total, fits, hours if fits else None)


def operations(*, lora: bool, recompute: bool) -> int:
    """Return the operations an id costs for each parameter.

    2 forward, 2 for the gradients of activations, 2 for those of weights, which frozen ones have
    none of, and 2 where the forward pass is computed again.
    """
    return 4 + 2 * (not lora) + 2 * recompute


def config_of(sizes: Sizes) -> Step1Config:
    """Return the sizes as memory is reckoned from."""
    return Step1Config(
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_attention_heads=sizes.heads,
        num_attention_groups=sizes.groups,
        num_hidden_layers=sizes.layers,
        vocab_size=sizes.vocab,
        tie_word_embeddings=sizes.tied,
    )


def table(plans: list[TrainingPlan], gpu: Gpu) -> str:
    """Return the plans as lines, GB a card."""
    lines = [
        "  cards   weights  gradients  Adam  gathered  activations  logits   in all"
        f"  of {gpu.memory / 1e9:.0f} GB   time"
    ]
    for made in plans:
        columns = zip(made.bytes.values(), (10, 11, 6, 10, 13, 8), strict=True)
        parts = "".join(f"{size / 1e9:{width}.1f}" for size, width in columns)
        verdict = "fits" if made.fits else "does not"
        lines.append(f"  {made.cards:5}{parts}{made.total / 1e9:9.1f}  {verdict:<10} {_time(made)}")
    return "\n".join(lines)


def advice(plans: list[TrainingPlan], *, lora: bool, recompute: bool) -> str:
    """Return what to start, or what would make it fit."""
    first = next((made for made in plans if made.fits), None)
    if first is None:
        more = ["--recompute"] * (not recompute) + ["--lora 16"] * (not lora)
        return f"nothing here fits; try {', '.join([*more, 'a smaller --length or --rows'])}"
    flags = (" --lora RANK" if lora else "") + (" --recompute" if recompute else "")
    if first.cards == 1:
        return f"fits on one card: step-audio train sft{flags} ..."
    nodes, rest = max(1, first.cards // 8), min(8, first.cards)
    return (
        f"fits on {first.cards}: torchrun --nnodes {nodes} --nproc-per-node {rest}"
        f" -m step_audio train sft{flags} ... (docs/examples/sft.slurm)"
    )


def _time(made: TrainingPlan) -> str:
    if made.hours is None:
        return ""
    return f"{60 * made.hours:.0f} min" if made.hours < 2 else f"{made.hours:.0f} h"
