"""`plan`: will a profile's language models keep up with their own voice on given cards?"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
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
from step_audio.engine.plan import (
    LINGUISTIC,
    SEMANTIC,
    VOCODER,
    Gpu,
    Plan,
    SoundModel,
    gpu_of,
    plan,
)
from step_audio.engine.sizes import PUBLISHED, Quantization, Sizes, sizes_of
from step_audio.published.headers import read_header

FORMULA = """\
ids/s of a session = 1 / max(bytes / (cards x bandwidth), 2 x sessions x parameters / operations/s)
bytes a step       = weights without the embedding's table + sessions x context x KV bytes an id
needed             = 41.7 ids/s of sound (5 ids in 120 ms); x 25/15 with text interleaved 10:15
first sound        = ids until the vocoder's first chunk / ids/s; the question was read ahead
models of sound    = 4 bytes a parameter, sessions x their state, activations of a pass
These are ceilings of memory bandwidth; the time of vocoder and network comes on top."""


def plan_profile(args: argparse.Namespace, load: Load) -> int:
    """Print what the cards can do for each of the profile's models; 0 when all keep up."""
    profile = load_profile(args.profile)
    gpu = gpu_of(args.gpu)
    sessions = args.sessions or profile.limits.max_sessions
    sound = _sound_models(profile)
    models = _models(profile)
    plans: dict[str, Plan] = {}
    cards: dict[str, int] = {}
    for name, engine, writes in models:
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
            # As the compose files have it: the vocoder lies beside the model that it speaks for.
            sound=sound if engine is models[-1][1] else (),
        )
    if args.json:
        found: dict[str, object] = {name: made.as_dict() for name, made in plans.items()}
        found["sound"] = [asdict(m) | {"bytes": m.memory_bytes(sessions)} for m in sound]
        print(json.dumps(found))
    else:
        for name, made in plans.items():
            print(_text(name, cards[name], args, made))
        print(_sound_text(sound, sessions))
        print(_sum(plans, cards, gpu, sound, sessions))
        print(FORMULA)
    return 0 if all(made.fits and made.keeps_up for made in plans.values()) else 1


def _sound_models(profile: Profile) -> list[SoundModel]:
    """Return the models that hear and speak, counted from the weights or as published."""
    ear, vocoder = profile.weights / "tokenizer", profile.weights / "vocoder"
    graph = ear / "speech_tokenizer_v1.onnx"
    hears = _counted(LINGUISTIC, ear / "linguistic.safetensors")
    speaks = _counted(VOCODER, vocoder / "flow.safetensors", vocoder / "hift.safetensors")
    speaks = replace(
        speaks,
        pass_streams=profile.vocoder.max_batch,
        on_card=profile.vocoder.device != "cpu",
    )
    models = [
        replace(hears, on_card=profile.tokenizer.device != "cpu"),
        replace(SEMANTIC, parameters=graph.stat().st_size // 4) if graph.is_file() else SEMANTIC,
        speaks,
    ]
    sings = (profile.weights / "vocoder_music").is_dir() or not profile.weights.is_dir()
    if profile.vocoder.singing != "never" and profile.dialog.takes_style_tags and sings:
        models.append(replace(speaks, name="singing vocoder", pass_bytes=0))
    return models


def _counted(model: SoundModel, *files: Path) -> SoundModel:
    """Return a model with the parameters that its files hold, where all are there."""
    if not all(path.is_file() for path in files):
        return model
    tensors = [facts for path in files for facts in read_header(path).values()]
    return replace(model, parameters=sum(facts.parameters for facts in tensors))


def _sound_text(sound: list[SoundModel], sessions: int) -> str:
    lines = [f"beside the language models, for {sessions} sessions"]
    for model in sound:
        place = "on a card" if model.on_card else "in the machine's memory"
        each = f"{model.stream_bytes / 1e6:.1f} MB a session"
        if model.pass_bytes:
            each += f", {model.pass_bytes / 1e6:.0f} MB for each of {model.pass_streams} in a pass"
        lines.append(
            f"  {model.name:<21}{model.parameters / 1e6:.1f} M parameters,"
            f" {model.weight_bytes / 1e9:.2f} GB + {each}; {place}"
        )
    return "\n".join(lines) + "\n"


def _sum(
    plans: dict[str, Plan], cards: dict[str, int], gpu: Gpu, sound: list[SoundModel], sessions: int
) -> str:
    """Return the line that adds everything up: the fullest card of each model, and the machine."""
    full = [
        f"{name} {made.card_bytes / 1e9:.1f} of {gpu.memory / 1e9:.0f} GB on "
        + (f"the fullest of {cards[name]} cards" if cards[name] > 1 else "one card")
        for name, made in plans.items()
    ]
    inside = sum(model.memory_bytes(sessions) for model in sound if not model.on_card)
    return f"in all: {'; '.join(full)}; {inside / 1e9:.1f} GB in the machine's memory\n"


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
    return sizes_of(read_object(path))


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
  KV cache    {made.kv_tokens} ids beside them, with --memory {made.memory_share:g}
  pace        {made.alone_ids_s:.0f} ids/s alone, {pace:.0f} each with {made.sessions} sessions\
 of {args.context} ids; needed {needed:.1f}
  first sound {made.first_audio_ms:.0f} ms after the question
  sessions    at most {made.max_sessions} without gaps
"""
