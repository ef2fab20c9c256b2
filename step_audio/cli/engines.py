"""`engine` and `export`: the vLLM server of a profile, and a folder that it can read."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from urllib.parse import urlsplit

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.core.profile import LocalEngineSection, Profile, VllmEngineSection
from step_audio.core.weights import MANIFEST, Facts, open_weights
from step_audio.engine.launch import QUIET, Launch, check_split, serve_arguments
from step_audio.engine.sizes import PUBLISHED, sizes_of


def engine(args: argparse.Namespace, load: Load) -> int:
    """Print the command of a profile's vLLM server and become that server."""
    launch = _launch(args, load_profile(args.profile))
    if (launch.folder / "config.json").is_file():
        check_split(launch, sizes_of(read_object(launch.folder / "config.json")))
    elif not args.dry_run:
        raise InputError(f"no config.json in {launch.folder}; is the model there?")
    elif launch.model in PUBLISHED:
        check_split(launch, PUBLISHED[launch.model])
    arguments = serve_arguments(launch)
    shown = [f"{name}={value}" for name, value in QUIET.items()]
    print(" ".join([*shown, args.vllm, shlex.join(arguments)]), flush=True)
    if args.dry_run:
        return 0
    program = shutil.which(args.vllm)
    if program is None:
        raise InputError(
            f"no program {args.vllm!r}; in an environment of its own, install vllm==0.24.0 and"
            " this package without its dependencies (pip install --no-deps), or name it by --vllm"
        )
    os.execve(program, [program, *arguments], {**os.environ, **QUIET})


def export(args: argparse.Namespace, load: Load) -> int:
    """Write a profile's LM with whole weights, as vLLM reads it."""
    import torch  # noqa: PLC0415 - other commands do without

    from step_audio.engine.weights import load_step1, save_step1  # noqa: PLC0415

    profile = load_profile(args.profile)
    weights = open_weights(profile.weights, profile.origin)
    lm = load_step1(weights.folder / _with_lm(profile.engine).folder)
    model = lm.module({"float32": torch.float32, "bfloat16": torch.bfloat16}[args.precision])
    try:
        save_step1(args.output, lm.config, model.state_dict())
    except OSError as error:
        raise InputError(f"cannot write {args.output}: {error.strerror or error}") from None
    size_mb = sum(path.stat().st_size for path in args.output.iterdir()) / 1e6
    print(f"{args.output}: {size_mb:.1f} MB in {args.precision}")
    return 0


def _launch(args: argparse.Namespace, profile: Profile) -> Launch:
    settings = _with_lm(profile.speech_engine if args.speech else profile.engine)
    folder = args.weights or profile.weights / settings.folder
    url = urlsplit(settings.url[0]) if isinstance(settings, VllmEngineSection) else None
    # A machine that only computes needs no more of the weights than the LM.
    known = (profile.weights / MANIFEST).is_file()
    facts = open_weights(profile.weights, profile.origin).facts if known else Facts()
    return Launch(
        folder=folder,
        model=settings.model if isinstance(settings, VllmEngineSection) else profile.model_name,
        host=args.host or "127.0.0.1",
        port=args.port or (url.port if url and url.port else 8000),
        tensor_parallel=args.tp,
        pipeline_parallel=args.pp,
        quantization=args.quantization,
        stop_ids=tuple(sorted(facts.vocab.stop_ids)),
        context=args.context,
        memory=args.memory,
        ray=args.ray,
        cpu=args.cpu,
    )


def _with_lm(settings: object) -> LocalEngineSection | VllmEngineSection:
    """Return an engine's settings. Raises InputError: none, or one without a model."""
    if not isinstance(settings, LocalEngineSection | VllmEngineSection):
        raise InputError("this profile has no such language model; choose another")
    return settings
