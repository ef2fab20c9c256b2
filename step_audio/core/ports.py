"""The seams: what each caller needs of a part, and no more. Only `runtime` names classes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from step_audio.core.chat import ChatModel
from step_audio.core.types import (
    AudioChunk,
    DecodedSound,
    GenerationRequest,
    Pcm,
    Recording,
    SpeechEvent,
    TokenGroup,
    ToolCall,
    ToolResult,
    Transcript,
    Voice,
    VoiceFacts,
)
from step_audio.core.vocab import OWN_CHAT, OWN_SPEECH, HeaderIds, Vocab

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Stage(Protocol[In_contra, Out_co]):
    """One stream through one transform. Laws: tests/laws.py."""

    def push(self, item: In_contra, /) -> Iterable[Out_co]:
        """Take the next input and return what became ready."""

    def flush(self) -> Iterable[Out_co]:
        """Return the rest; nothing may be pushed afterwards."""


class AudioTokenizer(Protocol):
    """Sound to token groups. Shared and immutable; `open` starts a stream.

    `copy.deepcopy` of a stream is a stream of its own that goes on from the same place: what is
    shared returns itself from `__deepcopy__`.
    """

    @property
    def sample_rate_hz(self) -> int: ...
    def open(self) -> Stage[Pcm, TokenGroup]: ...


class TurnDetector(Protocol):
    """Sound to speech events.

    `open` takes what a session may choose: the quiet that ends a turn, and how sure of speech
    the detector must be, in [0, 1]; None for the detector's own.
    """

    @property
    def sample_rate_hz(self) -> int: ...
    def open(
        self, *, silence_ms: int | None = None, threshold: float | None = None
    ) -> Stage[Pcm, SpeechEvent]: ...


class TextTokenizer(Protocol):
    """Text to ids and back; knows nothing of audio ids."""

    def encode(self, text: str) -> list[int]: ...
    def open_decoder(self) -> Stage[int, str]: ...


class Engine(Protocol):
    """Prompt ids in, ids out. Closing the iterator (`aclose`) aborts the request.

    `prefill` computes the beginning of a prompt that will be asked for soon, such as a question
    that is still being spoken, so that `generate` need not. A hint: it never fails because the
    engine is busy or gone, and a request is answered the same without it.
    """

    def generate(self, request: GenerationRequest) -> AsyncIterator[int]: ...
    async def prefill(self, prompt: tuple[int, ...], session: str) -> None: ...
    async def ready(self) -> bool: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """How a vocoder cuts a stream: groups of its first chunks, the last repeats; and how many
    groups after a chunk must have arrived."""

    sizes: tuple[int, ...] = (1,)
    lookahead: int = 0


class Vocoder(Protocol):
    """Token groups to sound, in the given voice; noise is drawn from `seed`."""

    @property
    def sample_rate_hz(self) -> int: ...
    @property
    def chunks(self) -> ChunkSizes: ...
    def open(self, voice: Voice, seed: int = 0) -> Stage[TokenGroup, Pcm]: ...


class VoiceStore(Protocol):
    """Voices by name. `get` raises VoiceNotFound; names are never paths.

    Calls are synchronous, read the disk and may take seconds: run them in a worker thread.
    """

    def get(self, name: str) -> Voice: ...
    def names(self) -> tuple[str, ...]: ...


class VoiceLibrary(Protocol):
    """Voices that people add and remove while the system runs; they survive restarts.

    Calls are synchronous and may take seconds: run them in a worker thread.
    """

    def add(self, name: str, recording: Recording, *, text: str, consent: str) -> VoiceFacts:
        """Make a voice of 3 to 30 s of one person and what they say in it.

        Raises:
            VoiceRefused: the name is taken or unusable, the text or the consent is empty.
            AudioError: the recording cannot be used; says why.
        """

    def remove(self, name: str) -> None:
        """Forget a voice and erase its files. Raises VoiceNotFound, VoiceRefused (built in)."""

    def facts(self, name: str) -> VoiceFacts:
        """Return what is known of a voice. Raises VoiceNotFound."""


@dataclass(frozen=True, slots=True)
class RecognitionHints:
    """What is known of speech before it is recognised.

    Attributes:
        language: ISO 639-1 code, "" for any.
        context: words that were said before, or that are likely to occur.
        begins: words that the speech certainly begins with.
    """

    language: str = ""
    context: str = ""
    begins: str = ""


class SpeechRecognizer(Protocol):
    """A speech recognition model: sound of at most half a minute to its words."""

    async def recognize(
        self, pcm: Pcm, rate_hz: int, hints: RecognitionHints, *, live: bool = False
    ) -> Transcript:
        """Return the words and their language.

        Args:
            live: the speech goes on; this pass gives way to those over whole questions.

        Raises:
            EngineError.
        """

    async def ready(self) -> bool: ...
    async def aclose(self) -> None: ...


class SpeechModel(Protocol):
    """Text to sound in one step: a speech service with voices of its own.

    `read` yields sound as it is made; closing the iterator aborts the request. It raises
    EngineUnavailable, EngineLost or EngineRefused.
    """

    @property
    def sample_rate_hz(self) -> int: ...
    def read(self, text: str, voice: str) -> AsyncIterator[AudioChunk]: ...
    async def ready(self) -> bool: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model and the clients see it.

    Attributes:
        parameters: a JSON schema.
        callable_early: a call changes nothing and asks nobody outside, so that an early answer,
            which may be thrown away, need not wait with it.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    callable_early: bool = False


class SoundDecoder(Protocol):
    """Strangers' sound files to samples; a file costs only its own answer.

    `start` gets ready ahead and is told where measures go. `decode` raises AudioError, and
    Overloaded when nothing can be decoded now.
    """

    def start(self, observe: Callable[[str, float], None]) -> None: ...
    async def decode(self, data: bytes, max_seconds: float) -> DecodedSound: ...
    def close(self) -> None: ...


class ToolBox(Protocol):
    """Server-side tools. `call` raises ToolError; a failed call never raises anything else."""

    def specs(self) -> Sequence[ToolSpec]: ...
    async def call(self, call: ToolCall) -> ToolResult: ...


@runtime_checkable
class RemoteTools(ToolBox, Protocol):
    """A tool box that has to be reached before it can say what is in it, and left at the end."""

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...


class Clock(Protocol):
    def now_s(self) -> float: ...


class Recorder(Protocol):
    """Metrics without a metrics library in the core."""

    def observe(self, name: str, value: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a server or a command needs, as built by `runtime`."""

    model_name: str
    vocab: Vocab
    audio_tokenizer: AudioTokenizer | None
    """None: the words of a question are all that is kept of it."""
    text_tokenizer: TextTokenizer
    engine: Engine
    vocoder: Vocoder
    voices: VoiceStore
    default_voice: str
    tools: ToolBox
    clock: Clock
    recorder: Recorder
    sound_decoder: SoundDecoder
    voice_library: VoiceLibrary | None = None
    """Without one, the voices are those of the weights; else it shares them with `voices`."""
    turn_detector: TurnDetector | None = None
    """Without one, clients say themselves where a turn ends."""
    speech_engine: Engine | None = None
    """Reads aloud what `engine` writes, with the same vocabulary; None: `engine` speaks itself."""
    chat_model: ChatModel | None = None
    """Answers in place of `engine`, which then only reads aloud."""
    recognizer: SpeechRecognizer | None = None
    """Writes down questions for the chat model; None: `engine` does, or the chat model hears."""
    speech_model: SpeechModel | None = None
    """Reads aloud in place of `engine` and `vocoder`."""
    at_work: Callable[[], Mapping[str, str]] = dict
    """Which models hear, answer and speak, as people are told it; keys: ear, chat, voice. A name
    that a server tells is known once it has been asked."""
    chat_headers: HeaderIds = OWN_CHAT
    speech_headers: HeaderIds = OWN_SPEECH
    """How prompts for answers, and for texts read aloud, begin; facts of the weights."""
    singing_vocoder: Vocoder | None = None
    """Speaks what is sung or rapped; None: this deployment does neither."""
    in_manner: Callable[[tuple[str, ...]], Vocoder] | None = None
    """Returns the vocoder as it speaks in manners, by their names (`dialog.manners`); None: it
    knows none. Raises InputError: there is none of that name."""
