"""GRPO by TRL on ids: answers of the model as it is now, scored by rules and judges.

TRL's trainer has the loss, the groups, the clipping and the distance from the reference; ours are
two things. Prompts and answers are ids, which text cannot carry exactly (a rollout function), and
audio ids can be left out of the loss as in preferences (its mask of what the model did not write,
`env_mask`): they stay context of the text. Sources: GRPO, arXiv:2402.03300; the mask:
Step-Audio-AQAA report, arXiv:2506.08967.

A run's folder has `steps.jsonl`, `eval.jsonl` (greedy answers to held-out questions before and
after), `tensorboard/`, `checkpoint-*` and in the end `export/`.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

import step_audio.hf  # noqa: F401 - makes Step1 known to the Auto classes
from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter, read_rows, write_rows
from step_audio.core.vocab import Vocab
from step_audio.train.checkpoints import Checkpoint, CheckpointWriter, new_folder, provenance
from step_audio.train.evaluation import EVAL_FILE
from step_audio.train.lora import Lora
from step_audio.train.plans import keep_plan
from step_audio.train.rejection import Asked

Reward = Callable[[Asked, Sequence[int]], float | None]
"""How good the ids of an ended answer are; None where it has nothing to say of that question."""

LOSSES: Final = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo")
"""TRL's `loss_type`: they differ in what the sum over ids is divided by, cispo in the clipping."""
STEPS_FILE: Final = "steps.jsonl"
AT_ONCE: Final = 32
"""Answers that are drawn together."""


@dataclass(frozen=True, slots=True)
class GrpoRecipe:
    """How long and how hard.

    Attributes:
        questions: of one step, over all processes.
        candidates: answers to each, whose rewards are compared with their mean.
        micro: answers that a process computes gradients of at a time; None: `candidates`.
        beta: weight of the distance from the model before training; 0 keeps no reference model.
        temperature: at which answers are drawn.
        max_new: ids of an answer at most; one that does not end there is worth 0.
        loss: one of `LOSSES`.
        mask_audio: leave audio ids out of the loss.
        held: questions that are measured, not learned from.
    """

    steps: int = 100
    questions: int = 4
    candidates: int = 8
    micro: int | None = None
    learning_rate: float = 1e-6
    beta: float = 0.04
    temperature: float = 1.0
    max_new: int = 512
    loss: str = "dapo"
    mask_audio: bool = True
    held: int = 16
    seed: int = 0
    save_every: int = 50
    recompute: bool = False
    bf16: bool = False
    lora: Lora | None = None


def grpo(  # noqa: PLR0917 - parts of one run
    asked: Sequence[Asked],
    rewards: Mapping[str, tuple[Reward, float]],
    source: Checkpoint,
    vocab: Vocab,
    out: Path,
    recipe: GrpoRecipe,
    *,
    facts: Mapping[str, Any],
    report_to: Sequence[str] = (),
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Train to the end, going on from the newest checkpoint; write the result to `out`/export.

    A run that goes on draws other answers than one that was never cut off: TRL keeps the
    optimizer and the order of the questions, not the state of every process's sampling.

    Args:
        rewards: by name, each with its weight in the sum.
        facts: of data and rewards; kept in the plan and in `training.json`.
        report_to: trackers beside TensorBoard, by their names in transformers.

    Returns:
        The rows of `eval.jsonl`: means of each reward over the held-out questions.

    Raises:
        InputError: too few questions, or `out` holds another run.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds

    new_folder(out, source.folder)
    held, learned = _split(asked, recipe)
    if source.config.vocab_size < vocab.size:
        raise InputError(f"the model has {source.config.vocab_size} ids, not {vocab.size}")
    plan = {**asdict(recipe), **facts, "from": provenance(source.folder)}
    plan.pop("save_every")
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        keep_plan(out, plan)
    torch.manual_seed(recipe.seed)
    model = AutoModelForCausalLM.from_pretrained(source.folder)
    trainer = _trainer(model, learned, rewards, vocab, out, recipe, report_to, device)
    found = read_rows(out / EVAL_FILE) if (out / EVAL_FILE).is_file() else []
    rows = [row for row in found if row["step"] == 0]
    rolls = Rollouts(vocab, recipe.max_new)

    def measure(step: int) -> None:
        answers = rolls.answers(trainer, held, temperature=0.0)
        rows.append({"step": step, **_means(rewards, held, answers, vocab)})
        if rank == 0:
            write_rows(out / EVAL_FILE, rows)

    if held and not rows:
        measure(0)
    saved = any(out.glob("checkpoint-*/trainer_state.json"))
    _forget_later(out, rank)
    trainer.train(resume_from_checkpoint=saved or None)
    if held:
        measure(int(trainer.state.global_step))
    _export(trainer, source, out / "export", {**plan, "step": int(trainer.state.global_step)})
    return rows


class Rollouts:
    """Draws answers to questions with the model that a trainer holds, ids in and ids out."""

    def __init__(self, vocab: Vocab, max_new: int) -> None:
        self._vocab, self._max_new = vocab, max_new

    def answers(self, trainer: Any, asked: Sequence[Asked], temperature: float) -> list[list[int]]:
        """Return the ids of an answer to each question, up to and with the end of the turn.

        Args:
            temperature: 0 takes the likeliest id each time.
        """
        # Alone or under FSDP2 and DDP: layers that are sharded are gathered as they compute.
        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        made: list[list[int]] = []
        trained = model.training
        model.eval()
        for start in range(0, len(asked), AT_ONCE):
            some = [question.prompt for question in asked[start : start + AT_ONCE]]
            made += self._drawn(model, some, temperature)
        model.train(trained)
        return made

    @torch.no_grad()
    def _drawn(
        self, model: Any, prompts: Sequence[Sequence[int]], temperature: float
    ) -> list[list[int]]:
        longest = max(len(ids) for ids in prompts)
        # Padding stands in front, so that all go on at the same position.
        rows = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in prompts])
        here = torch.tensor([[0] * (longest - len(i)) + [1] * len(i) for i in prompts])
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        ids = model.generate(
            input_ids=rows.to(model.device),
            attention_mask=here.to(model.device),
            max_new_tokens=self._max_new,
            eos_token_id=self._vocab.eot,
            pad_token_id=0,
            use_cache=True,
            **(sampling if temperature > 0 else {"do_sample": False}),
        )[:, longest:]
        return [_ended(row, self._vocab.eot) for row in ids.tolist()]


def _ended(ids: list[int], eot: int) -> list[int]:
    return ids[: ids.index(eot) + 1] if eot in ids else ids


def _trainer(  # noqa: PLR0917 - parts of one run
    model: nn.Module,
    asked: Sequence[Asked],
    rewards: Mapping[str, tuple[Reward, float]],
    vocab: Vocab,
    out: Path,
    recipe: GrpoRecipe,
    report_to: Sequence[str],
    device: str,
) -> Any:
    from datasets import Dataset  # noqa: PLC0415 - seconds
    from trl import GRPOConfig, GRPOTrainer  # noqa: PLC0415

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = recipe.micro or recipe.candidates
    drawn = recipe.questions * recipe.candidates
    if drawn % (micro * processes):
        raise InputError(
            f"{recipe.questions} questions of {recipe.candidates} candidates do not share out to"
            f" {processes} processes by {micro}; change --questions, --candidates or --micro"
        )
    settings = GRPOConfig(
        str(out),
        max_steps=recipe.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=drawn // (micro * processes),
        num_generations=recipe.candidates,
        max_completion_length=recipe.max_new,
        temperature=recipe.temperature,
        learning_rate=recipe.learning_rate,
        beta=recipe.beta,
        loss_type=recipe.loss,
        seed=recipe.seed,
        bf16=recipe.bf16,
        use_cpu=device == "cpu",
        activation_checkpointing=recipe.recompute,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=2,
        logging_steps=1,
        report_to=list(report_to) or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    rolls, by_id = Rollouts(vocab, recipe.max_new), {question.id: question for question in asked}

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        questions = [by_id[name] for name in prompts]
        answers = rolls.answers(trainer, questions, recipe.temperature)
        drawn: dict[str, Any] = {
            "prompt_ids": [list(question.prompt) for question in questions],
            "completion_ids": answers,
            "logprobs": None,
        }
        if recipe.mask_audio:
            drawn["env_mask"] = [[int(not vocab.is_audio(i)) for i in ids] for ids in answers]
        return drawn

    lora = None
    if recipe.lora is not None:
        from peft import LoraConfig  # noqa: PLC0415 - seconds

        names = list(recipe.lora.targets)
        lora = LoraConfig(
            r=recipe.lora.rank,
            lora_alpha=recipe.lora.alpha,
            target_modules=names,
            task_type="CAUSAL_LM",
        )
    with warnings.catch_warnings():
        # That this interface may change is why the lock pins the library.
        warnings.filterwarnings("ignore", "You are using 'rollout_func'")
        trainer = GRPOTrainer(
            model,
            [_reward_function(name, how, by_id, vocab) for name, (how, _) in rewards.items()],
            args=_weighted(settings, rewards),
            train_dataset=Dataset.from_list([{"prompt": question.id} for question in asked]),
            processing_class=id_tokenizer(vocab),
            rollout_func=rollout,
            peft_config=lora,
            callbacks=[_log(out / STEPS_FILE), *_board(out / "tensorboard")],
        )
    from transformers import PrinterCallback  # noqa: PLC0415 - seconds

    trainer.remove_callback(PrinterCallback)
    return trainer


def _weighted(settings: Any, rewards: Mapping[str, tuple[Reward, float]]) -> Any:
    settings.reward_weights = [weight for _, weight in rewards.values()]
    return settings


def _reward_function(
    name: str, how: Reward, by_id: Mapping[str, Asked], vocab: Vocab
) -> Callable[..., list[float | None]]:
    """Return a reward as TRL calls it: lists in, a list out."""

    def reward(
        prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any
    ) -> list[float | None]:
        pairs = zip(prompts, completion_ids, strict=True)
        return [worth(how, by_id[prompt], ids, vocab) for prompt, ids in pairs]

    reward.__name__ = name
    return reward


def worth(how: Reward, question: Asked, ids: Sequence[int], vocab: Vocab) -> float | None:
    """Return the reward of an answer; one that does not end is worth 0 wherever any is due."""
    if not ids or ids[-1] != vocab.eot:
        return None if how(question, [*ids, vocab.eot]) is None else 0.0
    return how(question, ids)


def id_tokenizer(vocab: Vocab) -> Any:
    """Return a tokenizer whose pieces are the ids themselves, `<7>`: TRL wants one, for its log."""
    from tokenizers import Tokenizer, models  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - seconds

    pieces = {f"<{token_id}>": token_id for token_id in range(vocab.size)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(pieces, unk_token="<0>")),
        eos_token=f"<{vocab.eot}>",
        pad_token="<0>",
        padding_side="left",
    )


def _split(asked: Sequence[Asked], recipe: GrpoRecipe) -> tuple[list[Asked], list[Asked]]:
    """Return the held-out questions and those that are learned from: the same for a seed."""
    held = min(recipe.held, max(0, len(asked) - recipe.questions))
    drawn = np.random.default_rng((recipe.seed, 24)).permutation(len(asked))[:held]
    chosen = set(drawn.tolist())
    learned = [question for at, question in enumerate(asked) if at not in chosen]
    if len(learned) < recipe.questions:
        raise InputError(
            f"{len(asked)} questions are too few for steps of {recipe.questions}; write more, or"
            " give a smaller --questions"
        )
    return [asked[at] for at in sorted(chosen)], learned


def _means(
    rewards: Mapping[str, tuple[Reward, float]],
    held: Sequence[Asked],
    answers: Sequence[Sequence[int]],
    vocab: Vocab,
) -> dict[str, float]:
    """Return the mean of each reward where it says something, and how many questions there are."""
    found: dict[str, float] = {"questions": len(held)}
    for name, (how, _) in rewards.items():
        each = [worth(how, q, ids, vocab) for q, ids in zip(held, answers, strict=True)]
        said = [value for value in each if value is not None]
        if said:
            found[name] = math.fsum(said) / len(said)
    return found


def _log(path: Path) -> Any:
    """Return the callback that writes one row a step and prints what matters of it."""
    from transformers import TrainerCallback  # noqa: PLC0415 - seconds

    class Log(TrainerCallback):  # type: ignore[misc] # the library has no types
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not state.is_world_process_zero or "reward" not in (logs or {}):
                return
            # Clipping shares of an answer without an id that counts are NaN, which is no JSON.
            row = {k: v for k, v in logs.items() if isinstance(v, int | float)}
            row = {k: v for k, v in row.items() if math.isfinite(v)}
            with RowWriter(path) as rows:
                rows.add({"step": state.global_step, **row})
            shown = {k: v for k, v in row.items() if k in {"reward", "kl", "reward_std"}}
            shown |= {
                k.split("/")[1]: v for k, v in row.items() if k.endswith("/mean") and "rew" in k
            }
            said = "  ".join(f"{name} {value:.3g}" for name, value in shown.items())
            print(f"step {state.global_step} of {state.max_steps}  {said}", flush=True)

    return Log()


def _board(folder: Path) -> list[Any]:
    """Return what writes TensorBoard's files, nothing where it is not installed."""
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec("tensorboard") is None:
        return []
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - seconds
    from transformers.integrations import TensorBoardCallback  # noqa: PLC0415

    return [TensorBoardCallback(SummaryWriter(str(folder)))]


def _forget_later(out: Path, rank: int) -> None:
    """Drop the rows of steps behind the newest checkpoint: they are made again."""
    path = out / STEPS_FILE
    numbers = [int(folder.name.rpartition("-")[2]) for folder in out.glob("checkpoint-*")]
    if rank == 0 and path.is_file():
        last = max(numbers, default=0)
        write_rows(path, [row for row in read_rows(path) if row["step"] <= last])


def _export(trainer: Any, source: Checkpoint, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the weights as `source` is laid out, or the adapters as peft keeps them."""
    if hasattr(trainer.model, "peft_config"):
        trainer.save_model(str(folder))
        return
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.accelerator.is_main_process:
        return
    writer = CheckpointWriter(folder, source.raw_config)
    for name in source.names:
        writer.add(name, state[name].detach().cpu().to(source.dtype))
    writer.close(source.folder, facts)
