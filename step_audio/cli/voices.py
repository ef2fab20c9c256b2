"""`voices`: list, add, remove and show the voices of a profile."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from step_audio.cli.parts import CommandParts, Load
from step_audio.cli.sound_files import read
from step_audio.cli.trials import SENTENCES, spoken
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm, Recording, VoiceFacts
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.transcription import RecordingTranscriber

if TYPE_CHECKING:
    from step_audio.voices.making import SpeakerEncoderPort


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
    encoder = None if args.no_comparison else parts.speaker_encoder()
    if encoder is not None:
        print(f"  {asyncio.run(_compared(parts, facts, encoder))}")
    return 0


async def _compared(parts: CommandParts, facts: VoiceFacts, encoder: SpeakerEncoderPort) -> str:
    """Return how much a sentence spoken in a new voice sounds like its example."""
    from step_audio.eval.speaker_similarity import similarity  # noqa: PLC0415

    language = "zh" if any("\u4e00" <= char <= "\u9fff" for char in facts.text) else "en"
    assistant = Assistant(parts.services(), parts.settings())
    try:
        sound, rate_hz = await spoken(assistant, SENTENCES[language], facts.name)
        vector = encoder.embed(resample(sound, rate_hz, 16_000))
        voices = assistant.services.voices
        alike = {name: similarity(voices.get(name).embedding, vector) for name in voices.names()}
    except StepAudioError as error:
        return f"not compared with its example: {' '.join(str(error).split())}"
    finally:
        await assistant.aclose()
    own = alike.pop(facts.name)
    others = f", {max(alike.values()):.2f} like the next voice" if alike else ""
    return f"a sentence in this voice sounds {own:.2f} like its example{others} (1 is the same)"


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
        return await RecordingTranscriber(assistant).transcribe(pcm, rate_hz)
    finally:
        await assistant.aclose()
