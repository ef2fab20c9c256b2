"""`tokenize` and `vocode`: the two ends of the pipe, without the LM between them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from step_audio.cli.output import prepare, write_text
from step_audio.cli.parts import Load
from step_audio.cli.sound_files import format_of, read, write_sound
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.json_files import groups_from_lists, groups_to_lists, read_object
from step_audio.core.resampling import input_resampler
from step_audio.core.types import GROUP_MS, TokenGroup

MAX_GROUPS = 600_000 // GROUP_MS


def tokenize(args: argparse.Namespace, load: Load) -> int:
    """Write `{"groups": [[l, l, s, s, s], ...]}`, one group for every 120 ms."""
    profile = load_profile(args.profile)
    if args.output is not None:
        prepare(args.output)
    pcm, rate_hz = read(args.speech)
    tokenizer = load(profile).audio_tokenizer()
    resampler, stage = input_resampler(rate_hz, tokenizer.sample_rate_hz), tokenizer.open()
    groups: list[TokenGroup] = []
    for chunk in (*resampler.push(pcm), *resampler.flush()):
        groups += stage.push(chunk)
    groups += stage.flush()
    text = json.dumps({"groups": groups_to_lists(groups)}) + "\n"
    if args.output is None:
        print(text, end="")
    else:
        write_text(args.output, text)
    return 0


def vocode(args: argparse.Namespace, load: Load) -> int:
    """Write the sound of the groups in a file that `tokenize` wrote."""
    profile = load_profile(args.profile)
    format_of(args.output)
    prepare(args.output)
    groups = _read_groups(args.groups)
    parts = load(profile)
    voice = parts.voices().get(args.voice or profile.voice)
    vocoder = parts.vocoder()
    stage = vocoder.open(voice, args.seed)
    chunks = [pcm for group in groups for pcm in stage.push(group)] + list(stage.flush())
    write_sound([(np.concatenate(chunks), vocoder.sample_rate_hz)], args.output)
    return 0


def _read_groups(path: Path) -> tuple[TokenGroup, ...]:
    raw = read_object(path).get("groups")
    try:
        groups = groups_from_lists(raw)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not 0 < len(groups) <= MAX_GROUPS:
        raise InputError(f"{path} holds {len(groups)} groups; give 1 to {MAX_GROUPS}")
    return groups
