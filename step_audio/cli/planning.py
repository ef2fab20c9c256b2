"""`plan`: will a profile's language models keep up with their own voice on given cards?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile, profile_names
from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.core.profile import (
    LocalEngineSection,
    Profile,
    ScriptedEngineSection,
    SpeechEndpointSection,
    VllmEngineSection,
    WhisperSection,
)
from step_audio.core.types import Form
from step_audio.engine.one_card import (
    EngineOnCard,
    SharedCard,
    chat_sizes,
    engine_on_card,
    quantization_of,
    whisper_bytes,
)
from step_audio.engine.plan import (
    LINGUISTIC,
    SEMANTIC,
    VOCODER,
    WORK_BYTES,
    Gpu,
    Plan,
    SoundModel,
    beside_bytes,
    gpu_of,
    plan,
)
from step_audio.engine.sizes import (
    CHAT_MODELS,
    PUBLISHED,
    Quantization,
    Sizes,
    sizes_of,
)
from step_audio.published.headers import read_header

ELSEWHERE = "elsewhere"
HUB_KEYS = {
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "groups": "num_key_value_heads",
    "layers": "num_hidden_layers",
    "vocab": "vocab_size",
}
"""Names of the numbers in `config.json` of chat models on the hub."""

FORMULA = """\
ids/s of a session = 1 / max(bytes / (cards x bandwidth), 2 x sessions x parameters / operations/s)
bytes a step       = weights without the embedding's table + sessions x context x KV bytes an id
needed             = 41.7 ids/s of sound (5 ids in 120 ms); x 25/15 with text interleaved 10:15
first sound        = ids until the vocoder's first chunk / ids/s; the question was read ahead
models of sound    = 4 bytes a parameter, sessions x their state, activations of a pass
These are ceilings of memory bandwidth; the time of vocoder and network comes on top."""


def plan_profile(args: argparse.Namespace, load: Load) -> int:
    """Print what the cards can do for each of the profile's models; 0 when all keep up. With
    `--train`: on how many cards its training fits."""
    if args.profile is None:
        raise InputError(
            "plan for which profile? Of those that ship, cards serve "
            + ", ".join(f"--profile {name}" for name in _on_cards())
        )
    profile = load_profile(args.profile)
    if args.train:
        from step_audio.cli.training_plan import plan_training  # noqa: PLC0415 - torch

        name, engine, _ = _models(profile)[-1 if args.speech else 0]
        return plan_training(args, _sizes(profile.weights / engine.folder, name))
    gpu = gpu_of(args.gpu)
    sessions = args.sessions or profile.limits.max_sessions
    sound = _sound_models(profile)
    models = _models(profile)
    shared = _shared_card(profile, models[-1], gpu, sound, args)
    # What two engines read at the same time comes out of one memory.
    halved = replace(gpu, bandwidth=gpu.bandwidth / 2, flops=gpu.flops / 2)
    plans: dict[str, Plan] = {}
    cards: dict[str, int] = {}
    for name, engine, writes in models:
        cards[name] = 1 if engine is profile.speech_engine else args.count
        plans[name] = plan(
            _sizes(profile.weights / engine.folder, name),
            halved if shared is not None and len(shared.engines) > 1 else gpu,
            cards[name],
            _quantization(args.quantization),
            sessions=sessions,
            context=args.context,
            writes=writes,
            first_groups=profile.vocoder.chunk_groups[0],
            # As the compose files have it: the vocoder lies beside the model that it speaks for.
            sound=sound if engine is models[-1][1] else (),
            others_bytes=shared.others_bytes(name) if shared is not None else 0,
        )
    if args.json:
        found: dict[str, object] = {name: made.as_dict() for name, made in plans.items()}
        found["sound"] = [asdict(m) | {"bytes": m.memory_bytes(sessions)} for m in sound]
        if shared is not None:
            found["together"] = {
                "bytes": shared.bytes,
                "fits": shared.fits,
                "ear_bytes": shared.ear_bytes,
                "sound_bytes": shared.sound_bytes,
                "engines": {
                    e.name: asdict(e) | {"memory_share": e.memory_share(gpu)}
                    for e in shared.engines
                },
            }
        print(json.dumps(found))
    else:
        for name, made in plans.items():
            print(_text(name, cards[name], args, made))
        print(_sound_text(sound, sessions))
        if shared is None:
            print(_sum(plans, cards, gpu, sound, sessions))
        else:
            print(_shared_text(shared, args.gpu, sessions, args.context))
        print(FORMULA)
    fit = shared is None or shared.fits
    return 0 if fit and all(made.fits and made.keeps_up for made in plans.values()) else 1


def _shared_card(
    profile: Profile,
    voice: tuple[str, LocalEngineSection | VllmEngineSection, Form],
    gpu: Gpu,
    sound: Sequence[SoundModel],
    args: argparse.Namespace,
) -> SharedCard | None:
    """Return what lies together on one card: voice, its models of sound, chat model and ear.

    None where a profile asks no chat model, or its voice needs no card.
    """
    chat, ear = profile.chat, profile.transcriber
    name, engine, _ = voice
    sessions = args.sessions or profile.limits.max_sessions
    if chat is None or not isinstance(engine, VllmEngineSection):
        return None
    asked = args.chat or chat.model
    engines: list[EngineOnCard] = []
    if asked != ELSEWHERE:
        sizes = _chat_sizes(asked)
        kind = _quantization(args.chat_quantization or quantization_of(asked))
        engines.append(engine_on_card(f"{asked}, {kind}", sizes, kind, sessions, args.context))
    kind = _quantization(args.quantization)
    sizes = _sizes(profile.weights / engine.folder, name)
    engines.append(engine_on_card(name, sizes, kind, sessions, args.context))
    on_card = isinstance(ear, WhisperSection) and ear.device.startswith("cuda")
    heard = whisper_bytes(ear.model) if isinstance(ear, WhisperSection) and on_card else 0
    return SharedCard(gpu, tuple(engines), beside_bytes(sound, sessions), heard)


def _chat_sizes(asked: str) -> Sizes:
    """Return a chat model's sizes by its name or its folder. Raises InputError: not known."""
    path = Path(asked) / "config.json"
    if path.is_file():
        config = read_object(path)
        given = {name: config.get(key) for name, key in HUB_KEYS.items()}
        values = {name: n for name, n in given.items() if type(n) is int and n > 0}
        if len(values) < len(given):
            raise InputError(f"{path} lacks one of {', '.join(HUB_KEYS.values())}")
        head = config.get("head_dim")
        tied = config.get("tie_word_embeddings") is True
        return Sizes(**values, tied=tied, head=head if type(head) is int else 0)
    known = chat_sizes(asked)
    if known is None:
        raise InputError(
            f"no sizes of {asked!r}; known: {', '.join(CHAT_MODELS)}; or give --chat the folder of"
            f" its config.json, or --chat {ELSEWHERE} where it does not lie on this card"
        )
    return known


def _shared_text(shared: SharedCard, card: str, sessions: int, context: int) -> str:
    lines = [f"together on one {card}, for {sessions} sessions of {context} ids"]
    for engine in shared.engines:
        parts = {"weights": engine.weight_bytes, "KV": engine.kv_bytes, "vLLM itself": WORK_BYTES}
        each = ", ".join(f"{size / 1e9:.1f} {what}" for what, size in parts.items())
        share = f"--gpu-memory-utilization {engine.memory_share(shared.gpu):g}"
        lines.append(f"  {engine.name}: {engine.bytes / 1e9:.1f} GB ({each}); {share}")
    lines.append(f"  models of sound: {shared.sound_bytes / 1e9:.1f} GB")
    if shared.ear_bytes:
        lines.append(f"  Whisper: {shared.ear_bytes / 1e9:.1f} GB")
    verdict = "fits" if shared.fits else "does NOT fit"
    lines.append(f"in all: {shared.bytes / 1e9:.1f} of {shared.gpu.memory / 1e9:.0f} GB; {verdict}")
    lines.append("(`step-audio engine` calls it --memory; start one engine after the other)\n")
    return "\n".join(lines)


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


def _on_cards() -> list[str]:
    """Return the names of the shipped profiles whose models lie on cards."""
    shipped = {name: load_profile(name, {}) for name in profile_names()}
    return [name for name, made in shipped.items() if isinstance(made.engine, VllmEngineSection)]


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
