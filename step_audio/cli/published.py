"""`weights inspect`, `download`, `extract`: published models and their folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.json_files import read_object
from step_audio.core.profile import Profile
from step_audio.core.weights import open_weights, record_more


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
        write_published_facts,
    )
    from step_audio.published.hub import Hub  # noqa: PLC0415

    if args.profile not in SOURCES:
        raise InputError(
            f"nothing to download for {args.profile!r}; profiles: {', '.join(SOURCES)}"
        )
    profile = load_profile(args.profile)
    folder = args.output or profile.weights
    revisions = dict(_revision(given) for given in args.revision)
    try:
        hub = Hub(args.hub)
        wanted = plan_download(hub, SOURCES[args.profile], folder, revisions)
        for commit in sorted({f"{w.repository} at {w.commit}" for w in wanted}):
            print(commit)
        total, present = sum(w.remote.size for w in wanted), bytes_present(wanted, folder)
        write_published_facts(args.profile, folder)
        with tqdm(total=total, initial=present, unit="B", unit_scale=True) as bar:
            download(hub, wanted, folder, bar.update)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None
    if not args.no_voices:
        fetch_voices(profile.model_copy(update={"weights": folder}), load, args)
    print(f"{folder}: complete; next: step-audio check --profile {args.profile}")
    return 0


def fetch_command(args: argparse.Namespace, load: Load) -> int:
    """Fetch the recordings of a profile's named voices and make the voices."""
    fetch_voices(load_profile(args.profile), load, args)
    return 0


def fetch_voices(profile: Profile, load: Load, args: argparse.Namespace) -> None:
    """Fetch what is missing, make each voice of it, and say where all that comes from."""
    from step_audio.published.speakers import (  # noqa: PLC0415 - httpx
        KEPT_IN,
        fetch_recordings,
        read_listing,
    )

    listing = read_listing(args.speakers)
    folder = profile.weights
    weights = open_weights(folder, profile.origin)
    print(f"recordings of {', '.join(listing.speakers)}: {listing.repository} at {listing.commit}")
    print(f"licence: {listing.licence}")
    files = fetch_recordings(listing, folder / KEPT_IN, args.code_host)
    names = [f"{KEPT_IN}/{file.name}" for file in files]
    if any(name not in weights.files for name in names):
        record_more(folder, names)
    missing = [n for n in listing.speakers if f"voices/{n}/embedding.npy" not in weights.files]
    if not missing:
        return
    from step_audio.voices.named import make_named_voice  # noqa: PLC0415 - torch

    words = read_object(folder / KEPT_IN / listing.words.name)
    maker = load(profile).voice_maker()
    for name in missing:
        recordings = {tag: folder / KEPT_IN / f.name for tag, f in listing.speakers[name].items()}
        made = make_named_voice(maker, name, recordings, words, folder / "voices" / name)
        record_more(folder, [path.relative_to(folder).as_posix() for path in made])
        print(f"{name}: made of {len(recordings)} recordings")


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
    command.add_argument("profile", help="tts-3b, one-gpu, chat-130b or aqaa-130b")
    command.add_argument("-o", "--output", type=Path, help="folder (the profile's `weights`)")
    command.add_argument("--hub", help="address of the hub (HF_ENDPOINT, else huggingface.co)")
    command.add_argument(
        "--revision",
        action="append",
        default=[],
        metavar="REPOSITORY=COMMIT",
        help="take this commit (the one of the last run, else the newest); may be repeated",
    )
    add_recordings(command)
    command.add_argument("--no-voices", action="store_true", help="leave the recordings out")


def add_recordings(command: argparse.ArgumentParser) -> None:
    """Add where the recordings of named voices come from."""
    command.add_argument(
        "--code-host",
        default="https://raw.githubusercontent.com",
        help="where the recordings are: HOST/REPOSITORY/COMMIT/PATH (raw.githubusercontent.com)",
    )
    command.add_argument(
        "--speakers", type=Path, help="another list of recordings, as published/speakers.json"
    )
