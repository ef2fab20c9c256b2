"""`train grpo` and `train score`: answers to a data set's questions, and their rewards."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from step_audio.cli.data_arguments import positive
from step_audio.cli.parts import Load
from step_audio.cli.questions import Questions, questions_of
from step_audio.cli.recipes import add_recipe
from step_audio.core.errors import InputError

if TYPE_CHECKING:
    from step_audio.eval.answer_rules import Rule
    from step_audio.train.grpo import Reward
    from step_audio.train.rejection import Asked

RULES: Final = ("judge", "calls", "refusals", "form", "endpoint", "model")
USUAL: Final = "judge=1,calls=0.5,refusals=0.5,form=0.2"


def add_grpo(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `train grpo`."""
    command.set_defaults(objective="grpo")
    command.add_argument("folder", type=Path, help="data set whose questions are asked")
    command.add_argument("--out", type=Path, required=True, help="folder of the run")
    command.add_argument("--profile", default="nano", help="the model that is to improve")
    command.add_argument(
        "--from", dest="source", type=Path, help="checkpoint to begin from; else the profile's"
    )
    command.add_argument("--tasks", default="AQAA", help="samples to ask, with commas")
    command.add_argument("--questions", type=positive, default=1000)
    command.add_argument("--held", type=int, default=16, help="questions measured, not learned")
    _add_rewards(command)
    command.add_argument("--steps", type=positive, default=100)
    command.add_argument("--step-questions", type=positive, default=4, help="of one step")
    command.add_argument("--candidates", type=positive, default=8, help="answers to a question")
    command.add_argument("--micro", type=positive, help="answers a process learns from at a time")
    command.add_argument("--max-new", type=positive, default=512, help="ids of an answer")
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--learning-rate", type=float, default=1e-6)
    command.add_argument("--beta", type=float, default=0.04, help="of the distance from the start")
    command.add_argument(
        "--loss", choices=("grpo", "dr_grpo", "dapo", "bnpo", "cispo"), default="dapo"
    )
    command.add_argument(
        "--mask-audio",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave audio ids out of the loss",
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--save-every", type=positive, default=50, help="steps")
    command.add_argument("--lora", type=positive, metavar="RANK", help="train adapters only")
    command.add_argument("--lora-alpha", type=float, help="twice the rank by default")
    command.add_argument("--recompute", action=argparse.BooleanOptionalAction, default=False)
    command.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=False)
    command.add_argument("--report-to", default="", help="trackers beside TensorBoard")
    command.add_argument("--device", default="auto")
    command.add_argument("--threads", type=positive, help="CPU threads of a process")
    add_recipe(command)


def add_score(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `train score`."""
    command.add_argument("folder", type=Path, help="data set whose questions are asked")
    command.add_argument(
        "--from",
        dest="sources",
        type=Path,
        action="append",
        default=[],
        help="checkpoint to score, any number of them; else the profile's",
    )
    command.add_argument("--profile", default="nano", help="tokenizers, prompts and voice")
    command.add_argument("--tasks", default="AQAA", help="samples to ask, with commas")
    command.add_argument("--questions", type=positive, default=100)
    _add_rewards(command)
    command.add_argument("--max-new", type=positive, default=512, help="ids of an answer")
    command.add_argument("--device", default="cpu", help="of the reward model")


def score(args: argparse.Namespace, load: Load) -> int:
    """Print the mean rewards of greedy answers, with 95 % intervals, of each checkpoint."""
    weights = reward_weights(args.rewards)
    _need(args, weights)
    from step_audio.eval.intervals import rate_interval
    from step_audio.train import grpo as training
    from step_audio.train import held_out

    asked = questions_of(args.folder, args.profile, load, tasks=args.tasks, count=args.questions)
    vocab = asked.services.vocab
    rewards = _rewards(args, asked, weights)
    prompts = [question.prompt for question in asked.asked]
    for source in args.sources or [asked.lm]:
        drawn = held_out.answers(source, prompts, vocab, args.max_new)
        # The engine leaves out the end of a turn that stopped it.
        ended = [[*ids, vocab.eot] if 0 < len(ids) < args.max_new else ids for ids in drawn]
        row: dict[str, object] = {"checkpoint": str(source), "questions": len(prompts)}
        for name, how in rewards.items():
            pairs = zip(asked.asked, ended, strict=True)
            each = [training.worth(how, question, ids, vocab) for question, ids in pairs]
            said = [value for value in each if value is not None]
            if said:
                low, high = rate_interval(said, [1.0] * len(said))
                mean = sum(said) / len(said)
                row[name] = {"mean": mean, "low": low, "high": high, "of": len(said)}
        print(json.dumps(row), flush=True)
    return 0


def _add_rewards(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--rewards", default=USUAL, help=f"names and weights, of {', '.join(RULES)}"
    )
    command.add_argument("--refused", default="sorry,not", help="words that mean: not understood")
    command.add_argument("--recogniser", choices=("domain", "open", "none"), default="none")
    command.add_argument("--judge-url", help="of the reward endpoint: up to and with /v1")
    command.add_argument("--judge-model", help="its name there")
    command.add_argument("--judge-key-file", type=Path, help="file with its key")
    command.add_argument("--reward-model", type=Path, help="of the reward model")


def grpo(args: argparse.Namespace, load: Load) -> int:
    """Learn from rewards of the model's own answers."""
    weights = reward_weights(args.rewards)
    _need(args, weights)
    _check(args)
    import torch

    from step_audio.train import grpo as training
    from step_audio.train.checkpoints import Checkpoint
    from step_audio.train.lora import Lora

    if args.threads:
        torch.set_num_threads(args.threads)
    asked = questions_of(args.folder, args.profile, load, tasks=args.tasks, count=args.questions)
    rewards = {name: (how, weights[name]) for name, how in _rewards(args, asked, weights).items()}
    recipe = training.GrpoRecipe(
        steps=args.steps,
        questions=args.step_questions,
        candidates=args.candidates,
        micro=args.micro,
        learning_rate=args.learning_rate,
        beta=args.beta,
        temperature=args.temperature,
        max_new=args.max_new,
        loss=args.loss,
        mask_audio=args.mask_audio,
        held=max(0, args.held),
        seed=args.seed,
        save_every=args.save_every,
        recompute=args.recompute,
        bf16=args.bf16,
        lora=Lora(args.lora, args.lora_alpha or 2.0 * args.lora) if args.lora else None,
    )
    from step_audio.data.manifest import content_id

    facts = {
        "objective": "grpo",
        "rewards": weights,
        "recogniser": args.recogniser,
        "questions_id": content_id([question.id for question in asked.asked]),
    }
    rows = training.grpo(
        asked.asked,
        rewards,
        Checkpoint(args.source or asked.lm),
        asked.services.vocab,
        args.out,
        recipe,
        facts=facts,
        report_to=[name for name in args.report_to.split(",") if name],
        device=args.device,
    )
    for row in rows:
        print(f"held out, {said(row)}")
    print(f"{args.out / 'export'}: {recipe.steps} steps")
    return 0


def said(row: dict[str, float]) -> str:
    """Return a row of `eval.jsonl` in words."""
    figures = {k: v for k, v in row.items() if k not in {"step", "questions"}}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    return f"{row['questions']:.0f} questions, step {row['step']:.0f}: {shown}"


def reward_weights(text: str) -> dict[str, float]:
    """Return the weights of "judge=1,calls=0.5"; a name alone weighs 1.

    Raises:
        InputError: no such reward, no number, or nothing at all.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, sign, weight = part.strip().partition("=")
        try:
            found[name] = float(weight) if sign else 1.0
        except ValueError:
            raise InputError(f"{part!r} is not NAME=WEIGHT, such as judge=1") from None
        if name not in RULES:
            raise InputError(f"no reward {name!r}; there are {', '.join(RULES)}")
    return found


def _need(args: argparse.Namespace, weights: dict[str, float]) -> None:
    """Raise InputError for a reward without what it needs, before anything is loaded."""
    if "endpoint" in weights and not (args.judge_url and args.judge_model):
        raise InputError("the reward endpoint needs --judge-url and --judge-model")
    if "model" in weights and args.reward_model is None:
        raise InputError("the reward model needs --reward-model FOLDER (docs/examples/reward.py)")


def _check(args: argparse.Namespace) -> None:
    if args.candidates < 2:
        raise InputError("--candidates must be 2 or more: rewards are compared within a question")
    if args.beta < 0 or args.temperature <= 0:
        raise InputError("--beta must not be negative, and --temperature above 0")


def _rewards(
    args: argparse.Namespace, asked: Questions, weights: dict[str, float]
) -> dict[str, Reward]:
    from step_audio.eval.answer_rules import AnswerRules

    panel = None
    if "endpoint" in weights:
        from step_audio.cli.data import read_key
        from step_audio.data.llm import ChatEndpoint
        from step_audio.eval.scores.judges import JudgePanel

        key = read_key(args.judge_key_file)
        panel = JudgePanel(ChatEndpoint(args.judge_url, args.judge_model, key))
    vocab = asked.services.vocab
    refused = [word.strip() for word in args.refused.split(",")]
    rules = AnswerRules(asked.judge(args.recogniser), vocab, refused, panel)
    found = {name: _on_ids(rule) for name, rule in rules.named().items() if name in weights}
    if "model" in weights:
        from step_audio.train.reward_model import RewardModel

        model = RewardModel(args.reward_model, "cpu" if args.device == "auto" else args.device)
        found["model"] = lambda question, ids: model.score(question.prompt, ids)
    return found


def _on_ids(rule: Rule) -> Callable[[Asked, Sequence[int]], float | None]:
    return lambda question, ids: rule(question.prompt, question.reference, ids)
