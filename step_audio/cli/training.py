"""`train ...`: from a checkpoint and a pack to another checkpoint, and what each stage is worth."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from step_audio.cli.data import bar
from step_audio.cli.parts import Load
from step_audio.cli.questions import questions_of
from step_audio.core.errors import InputError

if TYPE_CHECKING:
    from step_audio.core.vocab import Vocab
    from step_audio.data.shards import TokenShards
    from step_audio.dialog.prompting.prompt import PromptBuilder
    from step_audio.nano.training.ablation import AblationQuestion
    from step_audio.train.finetune import Objective, Recipe

ANSWERED: Final = 12
"""Held-out questions that a row of the ablation answers itself: decoding is its slow part."""


def sft(args: argparse.Namespace, load: Load) -> int:
    """Fine-tune on the sequences of a pack."""
    shards = _opened(args)
    from step_audio.train.sft import Sft

    return _finetune(args, Sft(shards, args.max_length, args.text_weight))


def dpo(args: argparse.Namespace, load: Load) -> int:
    """Prefer the better answers of a pack of pairs."""
    shards = _opened(args)
    from step_audio.train.dpo import Dpo

    objective = Dpo(
        shards,
        args.max_length,
        loss=args.loss,
        beta=args.beta,
        reward_range=args.reward_range,
        mask_audio=args.mask_audio,
        sft_weight=args.sft_weight,
    )
    return _finetune(args, objective)


def _opened(args: argparse.Namespace) -> TokenShards:
    """Return the pack, checked with the checkpoint's folder before PyTorch takes its seconds."""
    from step_audio.data.shards import TokenShards

    shards = TokenShards(args.data)
    if (
        not (args.source / "config.json").is_file()
        and not (args.source / "adapter_config.json").is_file()
    ):
        raise InputError(f"no checkpoint at {args.source}; give a folder with config.json")
    return shards


def _finetune(args: argparse.Namespace, objective: Objective) -> int:
    import torch

    from step_audio.data.shards import TokenShards
    from step_audio.train import workers
    from step_audio.train.checkpoints import Checkpoint
    from step_audio.train.finetune import finetune

    if args.threads:
        torch.set_num_threads(args.threads)
    facts = {"objective": args.objective}
    for name in ("text_weight", "loss", "beta", "reward_range", "mask_audio", "sft_weight"):
        if hasattr(args, name):
            facts[name] = getattr(args, name)
    with workers.start(args.device) as here:
        shards, source = TokenShards(args.data), Checkpoint(args.source)
        run = finetune(
            objective,
            shards,
            source,
            args.out,
            _recipe(args),
            workers=here,
            facts=facts,
            report_to=[name for name in args.report_to.split(",") if name],
        )
        if here.leads:
            print(f"{args.out / 'export'}: {run.step} steps")
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    from step_audio.train.finetune import Recipe
    from step_audio.train.lora import Lora

    return Recipe(
        epochs=args.epochs,
        steps=args.steps,
        batch_tokens=args.batch_tokens,
        micro_tokens=args.micro_tokens,
        max_length=args.max_length,
        learning_rate=args.learning_rate,
        warm_steps=args.warm_steps,
        weight_decay=args.weight_decay,
        seed=args.seed,
        save_every=args.save_every,
        save_minutes=args.save_minutes,
        eval_share=args.eval_share,
        eval_every=args.eval_every,
        patience=args.patience,
        bf16=args.bf16,
        recompute=args.recompute,
        lora=Lora(args.lora, args.lora_alpha or 2.0 * args.lora) if args.lora is not None else None,
    )


def merge(args: argparse.Namespace, load: Load) -> int:
    """Write the weighted mean of checkpoints."""
    from step_audio.train.merge import Parent
    from step_audio.train.merge import merge as merge_parents

    merge_parents([Parent.parse(text) for text in args.parent], args.out)
    print(args.out)
    return 0


def merge_lora(args: argparse.Namespace, load: Load) -> int:
    """Write a checkpoint with its adapters added in."""
    from step_audio.train.lora import merge_adapter

    merge_adapter(args.source, args.adapter, args.out)
    print(args.out)
    return 0


def install(args: argparse.Namespace, load: Load) -> int:
    """Make a profile of what a run trained."""
    from step_audio.train.install import install as install_run

    file = install_run(args.run_folder, args.profile, args.base, best=args.best)
    print(f"{file}: talk to it with: step-audio serve --profile {file}")
    return 0


def ablation(args: argparse.Namespace, load: Load) -> int:
    """Train and measure one row of the ablation, or print the table of those that are done."""
    from step_audio.nano.training.ablation import Ablation, table

    if args.row == "table":
        print(table(args.out, args.note))
        return 0
    import torch

    from step_audio.train.finetune import Recipe

    if not (args.data and args.source):
        raise InputError("a row needs --data and --from")
    torch.set_num_threads(args.threads)
    recipe = Recipe(
        steps=args.steps,
        batch_tokens=args.batch_tokens,
        micro_tokens=args.batch_tokens,
        max_length=640,
        learning_rate=args.learning_rate,
        warm_steps=max(1, args.steps // 10),
        save_every=50,
    )
    rows = Ablation(args.data, args.source, args.out, recipe, args.sequences)
    figures = rows.run(args.row, _held_out)
    print(f"{args.row}: {', '.join(f'{name} {value:.3g}' for name, value in figures.items())}")
    return 0


def _held_out(
    checkpoint: Path, builder: PromptBuilder, vocab: Vocab, questions: Sequence[AblationQuestion]
) -> dict[str, float]:
    """Return the figures of one row: losses, and how its own answers are."""
    from step_audio.eval.answer_judge import AnswerJudge
    from step_audio.train import held_out

    judge = AnswerJudge(builder.text_tokenizer, vocab)
    pairs = [(question.prompt, question.right) for question in questions]
    found = held_out.losses(checkpoint, pairs, vocab)
    pairs = pairs[:ANSWERED]
    made = held_out.answers(checkpoint, [prompt for prompt, _ in pairs], vocab, max_tokens=320)
    scores = [judge.score(right, ids) for (_, right), ids in zip(pairs, made, strict=True)]
    broken = [bool(judge.parse(ids).anomalies) or not judge.parse(ids).groups for ids in made]
    count = max(1, len(pairs))
    return {**found, "answers right": sum(scores) / count, "form broken": sum(broken) / count}


def reject(args: argparse.Namespace, load: Load) -> int:
    """Sample answers, let the judge score them, write the best and the pairs."""
    from dataclasses import asdict, replace

    from step_audio.engine.text import hash_of_text_tokenizer
    from step_audio.train import rejection

    whole = args.turns == "all"
    asked = questions_of(
        args.folder, args.profile, load, tasks=args.tasks, count=args.questions, whole=whole
    )
    services, files, lm = asked.services, asked.weights.files, asked.lm.name
    grader = asked.judge(args.recogniser)
    sampling = replace(asked.parts.settings().sampling, temperature=args.temperature)
    plan = {
        "model": services.model_name,
        "lm": {name: f.sha256 for name, f in files.items() if name.startswith(f"{lm}/")},
        "sampling": asdict(sampling),
        "candidates": args.candidates,
        "recogniser": args.recogniser,
    }
    if whole:
        plan["turns"] = args.turns

    async def run() -> None:
        await rejection.sample(
            services.engine,
            bar(asked.asked, len(asked.asked), "questions"),
            lambda question, ids: grader.score(question.reference, ids),
            args.out,
            services.vocab,
            candidates=args.candidates,
            sampling=sampling,
            form="answer",
            plan=plan,
        )
        await services.engine.aclose()

    asyncio.run(run())
    choice = rejection.Choice(args.least, args.gap)
    text_tokenizer = hash_of_text_tokenizer(asked.lm)
    counts = rejection.choose(args.out, services.vocab, choice, text_tokenizer)
    print(f"{args.out}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
    if not counts["pairs"]:
        print(
            "  no pairs: a smaller --gap or --least, a higher --temperature or more --questions"
            " give some; the answers that were drawn are kept for another --gap and --least"
        )
    return 0
