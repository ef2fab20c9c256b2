"""`voices`: list, add, remove and show the voices of a profile."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict

from step_audio.cli.parts import CommandParts, Load
from step_audio.cli.sound_files import read
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError
from step_audio.core.types import Pcm, Recording, VoiceFacts
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.transcription import ModelTranscriber


def list_voices(args: argparse.Namespace, load: Load) -> int:
    """Print one voice a line."""
    profile = load_profile(args.profile)
    parts = load(profile)
    for name in parts.voices().names():
        facts = parts.voice_library().facts(name)
        kind = "built in" if facts.built_in else f"added {facts.created}"
        default = ", the profile's voice" if name == profile.voice else ""
        print(f"{name}\t{facts.prompt_s:.1f} s\t{kind}{default}")
    return 0


def add_voice(args: argparse.Namespace, load: Load) -> int:
    """Make a voice of a recording; say what was done."""
    parts = load(load_profile(args.profile))
    pcm, rate_hz = read(args.recording)
    recording = Recording(pcm[:, None], rate_hz)
    text = args.text
    if text is None:
        text = asyncio.run(_transcribed(parts, pcm, rate_hz))
        if not text:
            raise InputError("no words were understood; give them with --text")
    facts = parts.voice_library().add(args.name, recording, text=text, consent=args.consent)
    notes = (
        facts.notes if args.text is not None else ("words as the model heard them", *facts.notes)
    )
    print(f"{facts.name}: {facts.prompt_s:.2f} s, {facts.text!r}")
    print("\n".join(f"  {note}" for note in notes))
    return 0


def remove_voice(args: argparse.Namespace, load: Load) -> int:
    """Erase a voice that was added."""
    load(load_profile(args.profile)).voice_library().remove(args.name)
    print(f"{args.name}: removed")
    return 0


def show_voice(args: argparse.Namespace, load: Load) -> int:
    """Print what is known of a voice as one JSON object."""
    facts: VoiceFacts = load(load_profile(args.profile)).voice_library().facts(args.name)
    print(json.dumps(asdict(facts), ensure_ascii=False, indent=1))
    return 0


async def _transcribed(parts: CommandParts, pcm: Pcm, rate_hz: int) -> str:
    assistant = Assistant(parts.services(), parts.settings())
    try:
        return await ModelTranscriber(assistant).transcribe(pcm, rate_hz)
    finally:
        await assistant.aclose()
