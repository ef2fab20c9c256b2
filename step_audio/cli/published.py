"""`weights inspect`, `download`, `extract`: published models and their folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError


def inspect_folder(args: argparse.Namespace, load: Load) -> int:
    """Say what a folder is; 0 when nothing is missing."""
    from step_audio.published.inspect import inspect  # noqa: PLC0415

    report = inspect(args.folder)
    print(report.as_json() if args.json else report.text())
    return 0 if report.usable else 1


def extract_lm(args: argparse.Namespace, load: Load) -> int:
    """Write the language model of a larger checkpoint as a folder of its own."""
    from step_audio.published.extract import extract  # noqa: PLC0415

    written = extract(args.folder, args.output)
    print(f"{args.output}: {written / 1e9:.1f} GB")
    return 0


def download_profile(args: argparse.Namespace, load: Load) -> int:
    """Fetch what a profile needs from a hub into its weights folder."""
    from tqdm import tqdm  # noqa: PLC0415

    from step_audio.published.download import (  # noqa: PLC0415 - huggingface_hub
        SOURCES,
        bytes_present,
        download,
        plan_download,
    )
    from step_audio.published.hub import Hub  # noqa: PLC0415

    if args.profile not in SOURCES:
        raise InputError(
            f"nothing to download for {args.profile!r}; profiles: {', '.join(SOURCES)}"
        )
    folder = args.output or load_profile(args.profile).weights
    revisions = dict(_revision(given) for given in args.revision)
    try:
        hub = Hub(args.hub)
        wanted = plan_download(hub, SOURCES[args.profile], folder, revisions)
        for commit in sorted({f"{w.repository} at {w.commit}" for w in wanted}):
            print(commit)
        total, present = sum(w.remote.size for w in wanted), bytes_present(wanted, folder)
        with tqdm(total=total, initial=present, unit="B", unit_scale=True) as bar:
            download(hub, wanted, folder, bar.update)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None
    print(f"{folder}: complete; next: step-audio check --profile {args.profile}")
    return 0


def _revision(given: str) -> tuple[str, str]:
    repository, _, revision = given.partition("=")
    if not repository or not revision:
        raise InputError(f"--revision {given!r}: expected REPOSITORY=COMMIT")
    return repository, revision


def add_weights_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `weights` and what it can do."""
    about = "Fetch and understand published weights."
    top = commands.add_parser("weights", help=about, description=about)
    actions = top.add_subparsers(required=True, metavar="ACTION")
    about = "Say what a folder is, what is missing, what would run; reads headers only."
    command = actions.add_parser("inspect", help=about, description=about)
    command.set_defaults(run=inspect_folder)
    command.add_argument("folder", type=Path)
    command.add_argument("--json", action="store_true", help="print one JSON object instead")
    about = "Write the language model inside a larger checkpoint as a folder of its own."
    command = actions.add_parser("extract", help=about, description=about)
    command.set_defaults(run=extract_lm)
    command.add_argument("folder", type=Path)
    command.add_argument("output", type=Path, help="folder to write; made where missing")
    about = "Fetch a profile's weights; run it again to go on."
    command = actions.add_parser("download", help=about, description=about)
    command.set_defaults(run=download_profile)
    command.add_argument("profile", help="tts-3b, chat-130b or aqaa-130b")
    command.add_argument("-o", "--output", type=Path, help="folder (the profile's `weights`)")
    command.add_argument("--hub", help="address of the hub (HF_ENDPOINT, else huggingface.co)")
    command.add_argument(
        "--revision",
        action="append",
        default=[],
        metavar="REPOSITORY=COMMIT",
        help="take this commit (the one of the last run, else the newest); may be repeated",
    )
