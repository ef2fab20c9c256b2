"""What the commands need of the runtime; each part is built when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from step_audio.core.ports import AudioTokenizer, Services, Vocoder, VoiceLibrary, VoiceStore
from step_audio.core.profile import Profile
from step_audio.dialog.settings import DialogSettings

if TYPE_CHECKING:
    from step_audio.voices.making import SpeakerEncoderPort, VoiceMaker  # brings torch


class CommandParts(Protocol):
    """A profile's parts. Each raises WeightsError when its weights are missing or damaged."""

    def audio_tokenizer(self) -> AudioTokenizer: ...
    def vocoder(self) -> Vocoder: ...
    def voices(self) -> VoiceStore: ...
    def voice_library(self) -> VoiceLibrary: ...
    def speaker_encoder(self) -> SpeakerEncoderPort | None: ...
    def packaged_speaker_encoder(self) -> SpeakerEncoderPort | None: ...
    def voice_maker(self) -> VoiceMaker: ...
    def services(self) -> Services: ...
    def settings(self) -> DialogSettings: ...


Load = Callable[[Profile], CommandParts]
