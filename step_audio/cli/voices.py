"""`voices`: list, add, remove and show the voices of a profile."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from step_audio.cli.parts import CommandParts, Load
from step_audio.cli.sound_files import read
from step_audio.cli.trials import SENTENCES, spoken
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm, Recording, VoiceFacts
from step_audio.dialog.assistant import Assistant
from step_audio.dialog.transcription import RecordingTranscriber

_ENCODER_HZ: Final = 16_000
"""What speaker encoders take."""

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
    heard = "words as the model heard them; where they are wrong remove it and add it with --text"
    notes = facts.notes if args.text is not None else (heard, *facts.notes)
    print(f"{facts.name}: {facts.prompt_s:.2f} s, {facts.text!r}")
    print("\n".join(f"  {note}" for note in notes))
    if not args.no_comparison:
        print(f"  {asyncio.run(_compared(parts, facts, resample(pcm, rate_hz, _ENCODER_HZ)))}")
    return 0


async def _compared(parts: CommandParts, facts: VoiceFacts, example: Pcm) -> str:
    """Return how much a sentence spoken in a new voice sounds like its example.

    Args: `example` is the recording, (T,) at 16 kHz.
    """
    assistant = Assistant(parts.services(), parts.settings())
    try:
        encoder = parts.speaker_encoder()
        if encoder is not None:
            return await _by_weights(assistant, facts, encoder)
        packaged = parts.packaged_speaker_encoder()
        if packaged is not None:
            return await _by_package(assistant, facts, example, packaged)
    except StepAudioError as error:
        return f"not compared with its example: {' '.join(str(error).split())}"
    finally:
        await assistant.aclose()
    from step_audio.eval.packaged_encoder import INSTALL  # noqa: PLC0415

    return f"not compared with its example: no speaker encoder; one comes with `{INSTALL}`"


async def _by_weights(assistant: Assistant, facts: VoiceFacts, encoder: SpeakerEncoderPort) -> str:
    """Compare by the encoder whose vectors the voices have."""
    from step_audio.eval.speaker_similarity import similarity  # noqa: PLC0415

    vector = encoder.embed(await _sentence(assistant, facts, facts.name))
    voices = assistant.services.voices
    alike = {name: similarity(voices.get(name).embedding, vector) for name in voices.names()}
    own = alike.pop(facts.name)
    others = f", {max(alike.values()):.2f} like the next voice" if alike else ""
    return f"a sentence in this voice sounds {own:.2f} like its example{others} (1 is the same)"


async def _by_package(
    assistant: Assistant, facts: VoiceFacts, example: Pcm, encoder: SpeakerEncoderPort
) -> str:
    """Compare by the packaged encoder: sound with sound, and with that of the default voice."""
    from step_audio.eval.speaker_similarity import similarity  # noqa: PLC0415

    wanted, default = encoder.embed(example), assistant.services.default_voice
    own, other = [
        similarity(wanted, encoder.embed(await _sentence(assistant, facts, name)))
        for name in (facts.name, default)
    ]
    return (
        f"a sentence in this voice sounds {own:.2f} like its example, the same by {default}"
        f" {other:.2f} (1 is the same; measured by Resemblyzer)"
    )


async def _sentence(assistant: Assistant, facts: VoiceFacts, voice: str) -> Pcm:
    """Return a sentence in the language of a voice's example, (T,) at 16 kHz."""
    language = "zh" if any("\u4e00" <= char <= "\u9fff" for char in facts.text) else "en"
    sound, rate_hz = await spoken(assistant, SENTENCES[language], voice)
    return resample(sound, rate_hz, _ENCODER_HZ)


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
