"""Values that cross the seams. Frozen, slotted, without behaviour beyond their own checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]
"""Mono samples in [-1, 1], shape (T,); the rate is known from the context that carries it."""

GROUP_MS = 120
LINGUISTIC_PER_GROUP = 2
SEMANTIC_PER_GROUP = 3
MEL_BANDS = 80
"""Of the mel between the flow and the waveform generator."""
SPEAKER_SIZE = 192
"""Numbers of a speaker vector (CAM++)."""


RATES_HZ = (4_000, 384_000)
"""Lowest and highest rate that a sound card has."""


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """120 ms of speech: 2 linguistic codes (16.7 Hz) and 3 semantic codes (25 Hz)."""

    linguistic: tuple[int, int]
    semantic: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text as the LM produced it; joined pieces are the whole text.

    Attributes:
        text: what is shown and read aloud.
        tags: style tags that the LM wrote in front of it, with their brackets: neither shown nor
            read, but part of the history that the LM is shown.
    """

    text: str
    tags: str = ""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the LM thinks before it answers; never spoken, never part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard in a question, complete.

    Attributes:
        text: the words, "" for none.
        language: ISO 639-1 code, "" where nobody told it.
    """

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Sound that is ready to be played."""

    pcm: Pcm
    rate_hz: int

    @property
    def duration_ms(self) -> float:
        """Its length."""
        return len(self.pcm) * 1000 / self.rate_hz


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for. `arguments` is JSON text exactly as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to a `ToolCall`.

    Attributes:
        output: JSON text.
        after_s, announcement: so much later the assistant says this by itself; None: never.
    """

    call_id: str
    name: str
    output: str
    after_s: float | None = None
    announcement: str = ""


class SpeechEventKind(Enum):
    STARTED = "started"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SpeechEvent:
    """A decision of the turn detector; `at_ms` counts from the first pushed sample."""

    kind: SpeechEventKind
    at_ms: int


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker as the vocoder (and a TTS prompt) needs it.

    Attributes:
        name: key in the voice store.
        embedding: speaker vector, (192,) float32.
        prompt_text: what the prompt audio says; "" when the voice has no prompt.
        prompt_groups: tokens of the prompt audio.
        prompt_mel: mel of the prompt audio, (T, 80) float32, 22.05 kHz; T may be 0.
        speaker: name under which the LM was trained to know the voice; "" for all others.
        song_examples: what stands in for the voice where it raps or hums, by the style tag that
            asks for it; without one the voice's own example does.
    """

    name: str
    embedding: NDArray[np.float32]
    prompt_text: str = ""
    prompt_groups: tuple[TokenGroup, ...] = ()
    prompt_mel: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, MEL_BANDS), dtype=np.float32)
    )
    speaker: str = ""
    song_examples: Mapping[str, Voice] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VoiceChange:
    """From here on groups are spoken in this voice.

    Attributes:
        voice: who speaks.
        singing: whether the vocoder for singing does.
        manner: names of `dialog.manners` that the vocoder does itself.
        speed, volume: factors on the sound.
    """

    voice: Voice
    singing: bool = False
    manner: tuple[str, ...] = ()
    speed: float = 1.0
    volume: float = 1.0

    def same_as(self, other: VoiceChange) -> bool:
        """Whether nothing changes between the two; voices are compared by identity."""
        ours = (self.singing, self.manner, self.speed, self.volume)
        theirs = (other.singing, other.manner, other.speed, other.volume)
        return self.voice is other.voice and ours == theirs


@dataclass(frozen=True, slots=True)
class Recording:
    """Sound as somebody recorded it.

    Attributes:
        samples: (T, C) float32, nominally in [-1, 1].
        rate_hz: its rate.
    """

    samples: NDArray[np.float32]
    rate_hz: int


@dataclass(frozen=True, slots=True)
class DecodedSound:
    """What could be heard of a sound file.

    Attributes:
        pcm: mono samples, (T,), T > 0.
        rate_hz: their rate.
        warnings: what was skipped, a sentence each; () when all was heard.
    """

    pcm: Pcm
    rate_hz: int
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.pcm) / self.rate_hz


@dataclass(frozen=True, slots=True)
class VoiceFacts:
    """What is known of a voice besides its arrays.

    Attributes:
        name: key in the voice store.
        built_in: ships with the weights and cannot be removed.
        text: what the prompt audio says; "" without prompt.
        prompt_s: length of the prompt audio.
        consent: who agreed to the use of this voice, in their own words.
        created: UTC time, ISO 8601; "" of a built-in voice.
        notes: what was done to the recording and how the voice was made, one sentence each.
    """

    name: str
    built_in: bool
    text: str = ""
    prompt_s: float = 0.0
    consent: str = ""
    created: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the engine draws ids. `temperature` 0 is greedy."""

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int = 2048
    repetition_window: int = 0
    """Repetition-aware: mask the last id when it occurs twice in the last N ids (0 = off)."""


Form = Literal["answer", "text", "speech"]
"""Of what an answer is made: text and sound, or one of them alone. See engine/grammar.py."""


AddressReading = Literal["full", "host", "omit"]
UnreadableReading = Literal["refuse", "skip"]


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What of a text is read, and as what.

    Attributes:
        style_tags: whether "(happy)" and the like ask for a style; else they are words.
        markdown: whether Markdown, HTML and the like are taken out; else their signs are signs.
        numbers: whether figures, dates, units and signs become words; else they stay as written.
        addresses: of the web and of mail: read in full, their host alone, or left out.
        unreadable: a sentence in letters that the model was not taught refuses the text, or is
            left out.
    """

    style_tags: bool = True
    markdown: bool = True
    numbers: bool = True
    addresses: AddressReading = "full"
    unreadable: UnreadableReading = "refuse"


@dataclass(frozen=True, slots=True)
class CallRule:
    """Whether an answer calls a tool, where calls stand behind a marker id.

    Attributes:
        must: it calls, and says nothing; else it does not call.
        openings: ids of which one sequence follows the marker, each the name of a tool that may
            be called and what begins its arguments; none: anything may.
    """

    must: bool
    openings: tuple[tuple[int, ...], ...] = ()


LIVE = 0
BATCH = 10
"""Priorities: somebody waits for the sound, nobody does. Smaller goes first, as in vLLM."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One call of the engine: prompt ids in, ids until a stop id (not yielded) or the limit."""

    prompt: tuple[int, ...]
    sampling: SamplingParams
    stop_ids: frozenset[int]
    request_id: str
    form: Form | None = None
    """Only ids that continue an answer of this form are drawn; None: any id."""
    calls: CallRule | None = None
    """Of an answer in a form; None: it calls as it likes."""
    transcripts: tuple[tuple[int, ...], ...] = ()
    """Of an answer in a form: ids of which one sequence is the transcript it begins with; none: it
    is free."""
    priority: int = LIVE
    session: str = ""
    """Whose request it is: an engine with several addresses sends a session where its prefix is
    known. "" for nobody's."""


Role = Literal[
    "system", "human", "assistant", "tool", "tool_json_schemas", "function_output", "input"
]
"""Who a turn belongs to. The last three are published models' for tools and their results."""
