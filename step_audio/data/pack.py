"""Samples and accepted sounds into token shards, through the prompt builder that serves."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from step_audio.core.errors import InputError, TokenError
from step_audio.core.json_lines import read_rows
from step_audio.core.ports import AudioTokenizer, ToolSpec
from step_audio.core.resampling import resample_input
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import Vocab
from step_audio.data.cluster import Cluster
from step_audio.data.examples import Examples
from step_audio.data.manifest import SpokenUtterance, content_id
from step_audio.data.samples import Groups, Sample, SoundMissing, from_row
from step_audio.data.shards import ShardWriter, TokenSample
from step_audio.data.spoken import (
    Codes,
    SpokenGroups,
    SpokenItem,
    read_spoken,
    to_codes,
    write_spoken,
)
from step_audio.dialog.prompting.prompt import PromptBuilder, Text, Turn

_HEARD = "input resampler, 32 crossings"
"""Codes of sound that came through another filter are kept apart."""
BLOCK = 500
"""Utterances of one file of codes: what a cut-off can lose."""


def tokens(
    root: Path,
    utterances: Sequence[SpokenUtterance],
    tokenizer: Callable[[], AudioTokenizer],
    tokenizer_id: str,
    *,
    progress: Callable[[Iterable[Codes], int], Iterable[Codes]] = lambda rows, total: rows,
    cluster: Cluster | None = None,
) -> SpokenGroups:
    """Return the groups of every utterance, by id; what another run made is read from disk.

    Args:
        tokenizer: loads what encodes; picklable where a cluster does it.
        tokenizer_id: names the weights; codes of other weights are kept apart.
        progress: wraps the codes as they come, for a bar.
        cluster: encodes in place of this machine.
    """
    folder = root / "tokens" / content_id(tokenizer_id, _HEARD)
    wanted = {utterance.sha256 for utterance in utterances}
    found: dict[str, Codes] = {}
    for path in sorted(folder.glob("*.safetensors")):
        # The place of the text holds the hash of the sound, which another one of that line has not.
        found.update({item.text: item.codes for item in read_spoken(path) if item.text in wanted})
    block: list[SpokenItem] = []
    waiting = list({u.sha256: u for u in utterances if u.sha256 not in found}.values())
    make = functools.partial(_encoder, root.absolute(), tokenizer)
    made: Iterator[Codes] = iter(())
    if waiting:
        made = map(make(), waiting) if cluster is None else cluster.map(make, waiting)
    for utterance, codes in zip(waiting, progress(made, len(waiting)), strict=True):
        found[utterance.sha256] = codes
        block.append(SpokenItem(utterance.sha256, utterance.speaker, codes))
        if len(block) == BLOCK:
            _write_block(folder, block)
            block = []
    if block:
        _write_block(folder, block)
    return SpokenGroups({u.id: found[u.sha256] for u in utterances})


def _write_block(folder: Path, block: Sequence[SpokenItem]) -> None:
    write_spoken(folder / f"{content_id([item.text for item in block])}.safetensors", block)


def _encoder(root: Path, load: Callable[[], AudioTokenizer]) -> Callable[[SpokenUtterance], Codes]:
    """Return what encodes utterances, in the process that does it."""
    tokenizer = load()
    return lambda utterance: to_codes(_encode(root, utterance, tokenizer))


def _encode(
    root: Path, utterance: SpokenUtterance, tokenizer: AudioTokenizer
) -> tuple[TokenGroup, ...]:
    pcm, rate_hz = utterance.read(root)
    stage = tokenizer.open()
    sound = resample_input(pcm, rate_hz, tokenizer.sample_rate_hz)
    return (*stage.push(sound), *stage.flush())


def read_samples(root: Path) -> list[Sample]:
    """Return the samples of a data set, each once."""
    found: dict[str, Sample] = {}
    for row in read_rows(root / "samples.jsonl"):
        sample = from_row(row)
        found.setdefault(sample.id, sample)
    return list(found.values())


SOUND_MISSING: Final = "sound missing"
NO_MARKER: Final = "no marker"
LEFT_OUT: Final = {
    SOUND_MISSING: "their sound was not said or was rejected (failures.jsonl, verdicts.jsonl)",
    NO_MARKER: "the model's vocabulary has no id for a transcript or call in them",
}
"""Why a sample cannot be packed."""
_TALKS: Final = ("TQTA", "AQTA", "TQAA", "AQAA")


def pack(
    samples: Sequence[Sample],
    groups: Groups,
    builder: PromptBuilder,
    vocab: Vocab,
    out: Path,
    *,
    tasks: Sequence[str] = (),
    begin: bool = False,
    seed: int = 0,
    text_tokenizer: str = "",
    examples: Examples | None = None,
    tools: Sequence[ToolSpec] = (),
    spell: Callable[[str], str] = str,
) -> Counter[str]:
    """Write the shards; return how many sequences each task has, and why others were left out.

    Args:
        samples: conversations; those that cannot be packed are counted by a key of `LEFT_OUT`.
        groups: of the accepted lines, by id.
        builder: turns to ids, as the profile that will serve builds them.
        tasks: those wanted, all by default.
        begin: put the begin-of-sequence id in front of all; the published TTS prompt has it anyway.
        seed: of the order.
        text_tokenizer: SHA-256 of its file: models with another one refuse the pack.
        examples: what a published TTS prompt may show; None leaves what is written there.
        tools: that conversations were written with; listed where the dialect lists tools.
        spell: how a text that is read aloud is written for the model, as serving writes it.

    Raises:
        InputError: nothing could be packed.
    """
    chosen = [sample for sample in samples if not tasks or sample.task in tasks]
    random.Random(seed).shuffle(chosen)
    writer = ShardWriter(out, vocab)
    counts: Counter[str] = Counter()
    for sample in chosen:
        try:
            shown, turns = sample_turns(sample, groups, builder, examples, tools, spell=spell)
            headers = builder.speech_headers if sample.is_published_tts else builder.chat_headers
            context = shown.context + len(turns) - len(shown.turns)
            ids, mask = builder.training_sequence(turns, context=context, headers=headers)
        except SoundMissing:
            counts[SOUND_MISSING] += 1
            continue
        except TokenError:
            counts[NO_MARKER] += 1
            continue
        if begin or headers.bos:
            ids, mask = [vocab.bos, *ids], [False, *mask]
        writer.add(TokenSample(ids, mask, sample.task, sample.id))
        counts[sample.task] += 1
    left = {why: counts[why] for why in LEFT_OUT if counts[why]}
    if not counts.total() - sum(left.values()):
        raise InputError(_nothing(out, chosen, left))
    writer.close(
        left_out=sum(left.values()),
        left_out_because=left,
        text_run=builder.text_run,
        group_run=builder.group_run,
        text_tokenizer=text_tokenizer,
    )
    return counts


def sample_turns(
    sample: Sample,
    groups: Groups,
    builder: PromptBuilder,
    examples: Examples | None = None,
    tools: Sequence[ToolSpec] = (),
    *,
    spell: Callable[[str], str] = str,
) -> tuple[Sample, list[Turn]]:
    """Return a sample with its example, and its turns as serving arranges them.

    What packing and rejection sampling share: the list of tools stands where the dialect has it,
    and a text to read is written as the model is given it (`spell`), but in the published prompt.

    Raises:
        SoundMissing; InputError: a turn of another form.
    """
    shown = sample if examples is None else examples.fitted(sample)
    turns = shown.resolve(groups)
    if sample.task == "TTS" and not sample.is_published_tts:
        turns = [_spelled(turn, spell) for turn in turns]
    listed = builder.listing(tools) if sample.task in _TALKS else []
    return shown, builder.arranged(turns, listed)


def _spelled(turn: Turn, spell: Callable[[str], str]) -> Turn:
    if turn.role != "human":
        return turn
    parts = (Text(spell(p.text)) if isinstance(p, Text) else p for p in turn.parts)
    return replace(turn, parts=tuple(parts))


def _nothing(out: Path, chosen: Sequence[Sample], left: Mapping[str, int]) -> str:
    """Return what to do when no sample could be packed."""
    if not chosen:
        return (
            "there is no sample of these tasks (samples.jsonl); data write makes samples of texts,"
            " data import of recordings with their words"
        )
    reasons = "; ".join(f"{count} because {LEFT_OUT[why]}" for why, count in left.items())
    return f"none of {len(chosen)} samples could be packed: {reasons}"
