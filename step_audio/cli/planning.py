"""`plan`: will a profile's language models keep up with their own voice on given cards?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.core.profile import (
    LocalEngineSection,
    Profile,
    ScriptedEngineSection,
    SpeechEndpointSection,
    VllmEngineSection,
)
from step_audio.core.types import Form
from step_audio.engine.plan import GPUS, Plan, plan
from step_audio.engine.sizes import CONFIG_KEYS, PUBLISHED, Quantization, Sizes

FORMULA = """\
ids/s of a session = 1 / max(bytes / (cards x bandwidth), 2 x sessions x parameters / operations/s)
bytes a step       = weights without the embedding's table + sessions x context x KV bytes an id
needed             = 41.7 ids/s of sound (5 ids in 120 ms); x 25/15 with text interleaved 10:15
first sound        = ids until the vocoder's first chunk / ids/s; the question was read ahead
These are ceilings of memory bandwidth; vocoder and network come on top."""


def plan_profile(args: argparse.Namespace, load: Load) -> int:
    """Print what the cards can do for each of the profile's models; 0 when all keep up."""
    profile = load_profile(args.profile)
    gpu = GPUS.get(args.gpu)
    if gpu is None:
        raise InputError(f"no figures for GPU {args.gpu!r}; known: {', '.join(GPUS)}")
    sessions = args.sessions or profile.limits.max_sessions
    plans: dict[str, Plan] = {}
    cards: dict[str, int] = {}
    for name, engine, writes in _models(profile):
        cards[name] = 1 if engine is profile.speech_engine else args.count
        plans[name] = plan(
            _sizes(profile.weights / engine.folder, name),
            gpu,
            cards[name],
            _quantization(args.quantization),
            sessions=sessions,
            context=args.context,
            writes=writes,
            first_groups=profile.vocoder.chunk_groups[0],
        )
    if args.json:
        print(json.dumps({name: made.as_dict() for name, made in plans.items()}))
    else:
        for name, made in plans.items():
            print(_text(name, cards[name], args, made))
        print(FORMULA)
    return 0 if all(made.fits and made.keeps_up for made in plans.values()) else 1


def _models(profile: Profile) -> list[tuple[str, LocalEngineSection | VllmEngineSection, Form]]:
    """Return name, engine and what it writes of each model."""
    first, second = profile.engine, profile.speech_engine
    if isinstance(first, ScriptedEngineSection | SpeechEndpointSection):
        raise InputError(f"{profile.model_name} has no models to plan for")
    forms: dict[str, Form] = {
        "cascade": "text",
        "chat": "speech",
        "direct": "answer",
        "speech": "speech",
    }
    models: list[tuple[str, LocalEngineSection | VllmEngineSection, Form]] = [
        (_name(first, profile), first, forms[profile.responder])
    ]
    if second is not None:
        models.append((_name(second, profile), second, "speech"))
    return models


def _name(engine: LocalEngineSection | VllmEngineSection, profile: Profile) -> str:
    return engine.model if isinstance(engine, VllmEngineSection) else profile.model_name


def _sizes(folder: Path, name: str) -> Sizes:
    """Return the sizes in `config.json`, else those of the published model of that name.

    Raises:
        InputError: neither is there.
    """
    path = folder / "config.json"
    if not path.is_file():
        if name not in PUBLISHED:
            raise InputError(f"no {path}, and no published model is called {name!r}")
        return PUBLISHED[name]
    config = read_object(path)
    given = {name: config.get(key) for name, key in CONFIG_KEYS.items()}
    values = {name: n for name, n in given.items() if type(n) is int and n > 0}
    if len(values) < len(given):
        raise InputError(f"{path} lacks sizes of a Step1: {', '.join(CONFIG_KEYS.values())}")
    return Sizes(**values, tied=config.get("tie_word_embeddings") is True)


def _quantization(name: str) -> Quantization:
    known: tuple[Quantization, ...] = ("bf16", "fp8", "int4", "int8")
    return next(kind for kind in known if kind == name)


def _text(name: str, cards: int, args: argparse.Namespace, made: Plan) -> str:
    pace, needed = made.ids_s, made.needed_ids_s
    keeps = "keeps up" if made.keeps_up else "does NOT keep up"
    verdict = keeps if made.fits else "does NOT fit"
    return f"""\
{name} on {cards} x {args.gpu}, {args.quantization}: {verdict}
  weights     {made.weight_bytes / 1e9:.1f} GB of {made.memory_bytes / 1e9:.0f} GB
  KV cache    {made.kv_tokens} ids beside them
  pace        {made.alone_ids_s:.0f} ids/s alone, {pace:.0f} each with {made.sessions} sessions\
 of {args.context} ids; needed {needed:.1f}
  first sound {made.first_audio_ms:.0f} ms after the question
  sessions    at most {made.max_sessions} without gaps
"""
