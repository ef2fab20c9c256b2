"""`train ...`: from a checkpoint and a pack to another checkpoint, and what each stage is worth."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from step_audio.cli.data import bar, tokenizer_id
from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.weights import open_weights

if TYPE_CHECKING:
    from step_audio.core.vocab import Vocab
    from step_audio.data.samples import Groups, Sample
    from step_audio.dialog.prompting.prompt import PromptBuilder
    from step_audio.nano.training.ablation import AblationQuestion
    from step_audio.train.finetune import Objective, Recipe
    from step_audio.train.rejection import Asked

ANSWERED: Final = 12
"""Held-out questions that a row of the ablation answers itself: decoding is its slow part."""


def sft(args: argparse.Namespace, load: Load) -> int:
    """Fine-tune on the sequences of a pack."""
    from step_audio.data.shards import TokenShards
    from step_audio.train.sft import Sft

    shards = TokenShards(args.data)
    return _finetune(args, Sft(shards, args.max_length, args.text_weight))


def dpo(args: argparse.Namespace, load: Load) -> int:
    """Prefer the better answers of a pack of pairs."""
    from step_audio.data.shards import TokenShards
    from step_audio.train.dpo import Dpo

    objective = Dpo(
        TokenShards(args.data),
        args.max_length,
        beta=args.beta,
        mask_audio=args.mask_audio,
        sft_weight=args.sft_weight,
    )
    return _finetune(args, objective)


def _finetune(args: argparse.Namespace, objective: Objective) -> int:
    import torch

    from step_audio.data.shards import TokenShards
    from step_audio.train import workers
    from step_audio.train.checkpoints import Checkpoint
    from step_audio.train.finetune import finetune

    if args.threads:
        torch.set_num_threads(args.threads)
    facts = {"objective": args.objective}
    for name in ("text_weight", "beta", "mask_audio", "sft_weight"):
        if hasattr(args, name):
            facts[name] = getattr(args, name)
    with workers.start(args.device) as here:
        shards, source = TokenShards(args.data), Checkpoint(args.source)
        run = finetune(
            objective, shards, source, args.out, _recipe(args), workers=here, facts=facts
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
        bf16=args.bf16,
        recompute=args.recompute,
        lora=Lora(args.lora, args.lora_alpha or 2.0 * args.lora) if args.lora else None,
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

    from step_audio.data.filter import accepted
    from step_audio.data.gates import ALL
    from step_audio.data.pack import read_samples, tokens
    from step_audio.dialog.prompting.prompt import PromptBuilder
    from step_audio.engine.text import hash_of_text_tokenizer
    from step_audio.eval.answer_judge import AnswerJudge
    from step_audio.train import rejection

    profile = load_profile(args.profile)
    weights = open_weights(profile.weights, profile.origin)
    parts = load(profile)
    services = parts.services()
    samples = [s for s in read_samples(args.folder) if s.task in args.tasks.split(",")]
    needed = {line for sample in samples for line in sample.lines()}
    spoken = [u for u in accepted(args.folder, ALL) if u.id in needed] if needed else []
    groups = tokens(args.folder, spoken, parts.audio_tokenizer, tokenizer_id(weights))
    builder = PromptBuilder(
        services.text_tokenizer,
        services.vocab,
        chat_headers=services.chat_headers,
        speech_headers=services.speech_headers,
    )
    asked = list(_asked(samples, groups, builder, args.questions))
    hear = None
    if args.recogniser != "none":
        from step_audio.nano.exam import judge

        hear = (judge.domain_judge() if args.recogniser == "domain" else judge.open_judge()).hear
    voice = services.voices.get(services.default_voice)
    grader = AnswerJudge(services.text_tokenizer, services.vocab, hear, services.vocoder, voice)
    sampling = replace(parts.settings().sampling, temperature=args.temperature)
    plan = {
        "model": services.model_name,
        "lm": {name: f.sha256 for name, f in weights.files.items() if name.startswith("lm/")},
        "sampling": asdict(sampling),
        "candidates": args.candidates,
        "recogniser": args.recogniser,
    }

    async def run() -> None:
        await rejection.sample(
            services.engine,
            bar(asked, len(asked), "questions"),
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
    text_tokenizer = hash_of_text_tokenizer(weights.folder / "lm")
    counts = rejection.choose(args.out, services.vocab, choice, text_tokenizer)
    print(f"{args.out}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
    return 0


def _asked(
    samples: list[Sample], groups: Groups, builder: PromptBuilder, count: int
) -> Iterator[Asked]:
    """Yield the first assistant turn of samples as a question with its right answer."""
    from step_audio.data.samples import SoundMissing
    from step_audio.train.rejection import Asked

    made = 0
    for sample in samples:
        if made == count:
            return
        try:
            turns = sample.resolve(groups)
        except SoundMissing:
            continue
        first = next(
            (at for at, t in enumerate(turns) if at >= sample.context and t.role == "assistant"),
            None,
        )
        if first is None:
            continue
        made += 1
        prompt = builder.chat(turns[:first])
        yield Asked(sample.id, tuple(prompt), tuple(builder.content(turns[first].parts)))
    if not made:
        raise InputError("no question can be asked: samples or accepted sounds are missing")
