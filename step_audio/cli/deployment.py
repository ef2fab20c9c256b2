"""`serve`, `check`, `record` and `convert`: a deployment and the weights it stands on."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from step_audio.cli.certificate import own_certificate
from step_audio.cli.doctor import missing_chat
from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.keys import Keyring, hash_key, new_key
from step_audio.core.profile import Profile
from step_audio.core.weights import open_weights, record
from step_audio.dialog.assistant import Assistant

if TYPE_CHECKING:
    from server.admission.limits import ServerSettings


def serve(args: argparse.Namespace, load: Load) -> int:
    """Load everything, then listen until interrupted."""
    from server.app import create_app  # noqa: PLC0415 - no other command needs a server
    from server.observability.log import configure_log  # noqa: PLC0415
    from server.observability.metrics import Metrics  # noqa: PLC0415
    from server.observability.spans import otlp_tracer  # noqa: PLC0415
    from server.serving import DrainingServer, configured  # noqa: PLC0415

    profile = load_profile(args.profile)
    host = profile.server.host if args.host is None else args.host
    port = profile.server.port if args.port is None else args.port
    if not 0 <= port <= 65535:
        raise InputError(f"port {port} is outside 0..65535")
    configure_log(profile.server.log, profile.server.log_level)
    parts = load(profile)
    for finding in missing_chat(profile):
        print(f"{finding.fact}: {finding.advice}", file=sys.stderr, flush=True)
    metrics = Metrics()
    assistant = Assistant(replace(parts.services(), recorder=metrics), parts.settings())
    settings = _settings(profile)
    pair = own_certificate(host) if args.tls else None
    tracer = otlp_tracer(profile.model_name) if profile.server.spans else None
    app = create_app(assistant, settings, metrics=metrics, tracer=tracer)
    config = configured(
        app,
        settings,
        ssl_certfile=pair.certificate if pair else None,
        ssl_keyfile=pair.key if pair else None,
        host=host,
        port=port,
    )
    DrainingServer(config, app.state.drain).run()
    return 0


def _settings(profile: Profile) -> ServerSettings:
    from server.admission.limits import LOOPBACK, ServerSettings  # noqa: PLC0415

    server = profile.server
    keys = Keyring(server.keys, server.api_key.get_secret_value() if server.api_key else None)
    default = () if keys else LOOPBACK
    return ServerSettings(
        keys=keys,
        hosts=frozenset(default if server.hosts is None else server.hosts),
        origins=frozenset(origin.lower() for origin in server.origins),
        open_metrics=server.open_metrics,
        voice_names=server.voice_names,
        max_sessions=profile.limits.max_sessions,
        traces=_traces(profile),
        measured=profile.limits.admission == "measured",
        resume_window_s=profile.limits.resume_window_s,
        drain_s=profile.limits.drain_s,
        idle_timeout_s=profile.limits.idle_s,
        session_timeout_s=profile.limits.session_s,
        warning_s=profile.limits.warning_s,
    )


def _traces(profile: Profile) -> Path | None:
    folder = profile.server.traces
    if folder is not None and not folder.is_dir():
        raise InputError(f"no folder {folder} for server.traces; make it first")
    return folder


def key(args: argparse.Namespace, load: Load) -> int:
    """Make a bearer key: shown once, its hash for the profile."""
    made = new_key()
    print(f"key, shown only now: {made}")
    print(f"for the profile:     server: {{keys: {{{args.name}: {hash_key(made)!r}}}}}")
    return 0


def check(args: argparse.Namespace, load: Load) -> int:
    """Print a profile resolved and verify its weights; refuse what `serve` would; start nothing."""
    profile = load_profile(args.profile)
    _settings(profile)
    if profile.server.spans:
        from server.observability.spans import otlp_tracer  # noqa: PLC0415

        otlp_tracer(profile.model_name)
    print(profile.model_dump_json(indent=2))
    weights = open_weights(profile.weights, profile.origin)
    weights.verify()
    size_mb = weights.total_bytes / 1e6
    print(f"weights: {len(weights.files)} files, {size_mb:.1f} MB, all as in the manifest")
    return 0


def record_folder(args: argparse.Namespace, load: Load) -> int:
    """Write the manifest of a weights folder as it is now."""
    weights = record(args.folder)
    print(f"{args.folder}: {len(weights.files)} files, {weights.total_bytes / 1e6:.1f} MB")
    return 0


def convert_tokenizer(args: argparse.Namespace, load: Load) -> int:
    """Write the published audio tokenizer in the project's layout, without its unused halves."""
    from tokenizer.loading import convert  # noqa: PLC0415 - torch, which other commands do without

    try:
        convert(args.published, args.output)
    except OSError as error:
        raise InputError(f"cannot write {args.output}: {error.strerror or error}") from None
    files = sorted(path for path in args.output.iterdir() if path.is_file())
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    print(f"{args.output}: {len(files)} files, {size_mb:.1f} MB")
    return 0
