"""The shape of a profile: what an operator may tune, and in which range. Reading: config.py.

What would break a checkpoint is not in here; it ships with the weights (weights.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from step_audio.core.keys import HASH_PATTERN
from step_audio.core.types import AddressReading, UnreadableReading

ENGINE_KINDS: Final = ("local", "vllm", "scripted", "speech_endpoint")

TRANSCRIBER_KINDS: Final = ("whisper", "endpoint", "own_model")

LanguageCode = Literal["en", "zh", "ja", "ko"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")]
"""auto: the first GPU where there is one, else the CPU."""
KeyName = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
KeyHash = Annotated[str, Field(pattern=HASH_PATTERN)]
Positive = Annotated[float, Field(gt=0)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]
Folder = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]


def _listed(raw: Any) -> Any:
    """Return what is listed in one text; the environment has no other form."""
    return raw.split() if isinstance(raw, str) else raw


class Section(BaseModel):
    """Frozen; a key it does not know is an error, because it is a typing mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_keys(cls, raw: Any) -> Any:
        """Refuse unknown keys before pydantic does, to say which there are."""
        for key in raw if isinstance(raw, dict) else ():
            if key not in cls.model_fields:
                facts = {"key": str(key), "allowed": ", ".join(sorted(cls.model_fields))}
                raise PydanticCustomError("unknown_key", "unknown key", facts)
        return raw


class LocalEngineSection(Section):
    """The LM in this process, from `weights`/`folder`."""

    kind: Literal["local"]
    folder: Folder = "lm"
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Of the computation; on CPUs int8 is twice as fast, bfloat16 no faster than float32."""


class VllmEngineSection(Section):
    """The LM behind the `/v1/completions` of one or more vLLM servers."""

    kind: Literal["vllm"]
    url: Annotated[
        tuple[Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")], ...],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=64),
    ]
    """Where the servers are; several, with the same model, as a list or with spaces between."""
    model: str = Field(min_length=1)
    """The name they serve it under."""
    folder: Folder = "lm"
    """Below `weights`: from where `step-audio engine` starts a server."""
    first_token_timeout_s: Positive = 5.0
    """For all servers that are tried."""
    next_token_timeout_s: Positive = 10.0
    """Silence after which an answer is given up."""
    api_key: SecretStr | None = None
    """What vLLM was given as --api-key; set it by STEP_AUDIO__ENGINE__API_KEY, never in a file."""


class SpeechEndpointSection(Section):
    """No model of ours: a speech service behind `/v1/audio/speech` reads aloud, in `voices` of its
    own. Only with the responder `chat`."""

    kind: Literal["speech_endpoint"]
    url: Url
    """Up to and with /v1."""
    model: str = Field(min_length=1)
    voices: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=200),
    ]
    """Names that the service knows; as a list or with spaces between."""
    sample_rate_hz: int = Field(default=24_000, ge=8000, le=48_000)
    """Of the PCM that it sends."""
    api_key: SecretStr | None = None
    """Set it by STEP_AUDIO__ENGINE__API_KEY, never in a file."""
    api_key_file: Path | None = None


class ScriptedEngineSection(Section):
    """No model: always the same answer, and a tone for a voice. Needs no weights."""

    kind: Literal["scripted"]
    text: str = Field(default="This is a scripted answer.", max_length=2000)
    groups: int = Field(default=20, ge=1, le=500)
    """Length of the answer's sound, 120 ms each."""
    first_token_ms: float = Field(default=0.0, ge=0)
    tokens_per_s: Positive | None = None
    """Left out: as fast as they are asked for."""


class ChatSection(Section):
    """A chat model behind the `/v1/chat/completions` of any server: it answers, others hear and
    speak."""

    url: Url = "http://127.0.0.1:11434/v1"
    """Up to and with /v1, such as Ollama's http://127.0.0.1:11434/v1."""
    model: str = ""
    """The name it is served under; left out: the first that the server lists."""
    hears: Literal["transcript", "audio"] = "transcript"
    """transcript: it reads what the `transcriber` heard. audio: it is sent the sound itself, as
    `input_audio`; few servers take that (docs/chat-servers.md)."""
    api_key: SecretStr | None = None
    """Set it by STEP_AUDIO__CHAT__API_KEY, never in a file."""
    api_key_file: Path | None = None
    """A file with nothing but the key."""
    context_tokens: int = Field(default=8192, ge=512, le=10_000_000)
    """Messages and answer together; older exchanges are left out of a longer conversation."""
    first_token_timeout_s: Positive = 20.0
    """For all attempts together; a model that is loaded on its first request takes long."""
    next_token_timeout_s: Positive = 10.0
    """Silence after which an answer is given up."""
    begins_thinking: bool = False
    """Whether answers begin with thoughts that no <think> opens, but </think> ends."""
    extra_body: dict[str, Any] = Field(default_factory=dict, max_length=32)
    """Added to every request, such as {chat_template_kwargs: {enable_thinking: false}} of vLLM."""


class WhisperSection(Section):
    """Whisper in this process; needs the extra `whisper`."""

    kind: Literal["whisper"]
    model: str = Field(default="base", min_length=1)
    """A folder in CTranslate2's format, or a name: base, small, medium, large-v3-turbo, ..."""
    device: Device = "cpu"
    threads: int = Field(default=1, ge=1, le=64)
    languages: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """ISO 639-1 codes of the languages that are spoken here; left out: all that it knows."""
    live: bool = True
    """Whether questions are recognized while they are spoken."""


class TranscriptionEndpointSection(Section):
    """A recognizer behind the `/v1/audio/transcriptions` of any server."""

    kind: Literal["endpoint"]
    url: Url
    """Up to and with /v1."""
    model: str = Field(min_length=1)
    api_key: SecretStr | None = None
    """Set it by STEP_AUDIO__TRANSCRIBER__API_KEY, never in a file."""
    api_key_file: Path | None = None
    live: bool | None = None
    """As Whisper's; left out: only where nobody is paid, which is on this machine and in its
    network."""


class OwnModelSection(Section):
    """The model that speaks also writes down questions: nano can."""

    kind: Literal["own_model"]


class TokenizerSection(Section):
    """Sound to token groups, from `weights`/tokenizer."""

    device: Device = "cpu"
    """Where the linguistic encoder runs; the semantic graph runs on the CPU."""


class VocoderSection(Section):
    """Token groups to sound, from `weights`/vocoder."""

    device: Device = "cpu"
    ode_steps: int | None = Field(default=None, ge=1, le=100)
    """Left out: as many as the weights were judged at. Fewer are faster and rougher."""
    guidance: float | None = Field(default=None, ge=0, le=5)
    """Left out: the strength the weights come with. 0 halves the cost of a guided flow."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the flow's estimator; bfloat16 is for GPUs."""
    max_batch: int = Field(default=4, ge=1, le=64)
    """So many streams that are due together share a pass of the flow."""
    noise_scale: float = Field(default=1.0, ge=0, le=1)
    """Deviation of the flow's start; below 1 is steadier and less lively."""
    chunk_groups: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        default=(2, 3, 5, 8), min_length=1, max_length=16
    )
    """Groups (120 ms each) of the first chunks of sound, the last one repeated: a small first
    chunk is heard sooner, larger ones cost less."""

    prompt_groups: int = Field(default=25, ge=0, le=300)
    """So many groups of a voice's example, from its end, are shown to the flow with every chunk."""
    singing: Literal["never", "first_use", "start"] = "first_use"
    """When the vocoder for rap and humming is loaded, where `weights`/vocoder_music has one."""


class TurnDetectorSection(Section):
    """Where a person's turn begins and ends, for clients that leave it to the server."""

    kind: Literal["silero", "energy"] = "silero"
    """silero: a small network. energy: level above the noise, for machines without it."""
    silence_ms: int = Field(default=500, ge=300, le=5000)
    """Silence this long ends a turn."""


class TurnsSection(Section):
    """How pauses and interruptions are taken."""

    speculate: bool | None = None
    """Whether a short pause starts an answer, held back until the turn is over. Left out: yes,
    unless a chat model is asked at an address where answers cost money, which is any that is not
    of this machine or its network."""
    resume_ms: int = Field(default=400, ge=0, le=2000)
    """A sound over an answer that is shorter than this, such as a cough, delays it and does not end
    it, unless the model hears a word that does; 0: any sound ends an answer at once."""
    backchannel_ms: int = Field(default=900, ge=0, le=2000)
    """Where the model writes down what it hears: so long a sound over an answer may be for its
    words to decide. "Mm-hmm" and "yeah" delay the answer, "stop" and "wait" end it; of other
    words `resume_ms` decides. A longer sound always ends it. 0: words never decide."""


class DialogSection(Section):
    """System prompts by name, and what the model was trained to take."""

    answer_prompt: str = "answer"
    read_prompt: str = "read"
    transcribe_prompt: str = "transcribe"
    """Empty: the model was not taught to transcribe, and only a `transcriber` can."""
    typed_in_words: bool = False
    """Whether typed questions are put into words first ("12 + 30": "twelve plus thirty"), for a
    model that was taught no figures."""
    takes_instructions: bool = False
    """Whether a client's instructions reach the model."""
    takes_style_tags: bool = False
    """Whether the model was taught "(happy)" and the like; else they are left out, or done to the
    sound as far as `manners` goes."""
    manners: tuple[Literal["happy", "sad", "angry", "whisper", "sing", "rap"], ...] = ()
    """What the vocoder does to the sound itself, for a model that makes tokens without it: pitch,
    pace, energy and breath, or notes and a beat. Tags that ask for it are then obeyed in texts, in
    `style`, and where the model writes them into its answers."""
    languages: tuple[LanguageCode, ...] = ()
    """What the model was taught to read aloud; a sentence in the letters of none of them is
    refused. Left out: it is given whatever comes."""
    recent_audio: int = Field(default=0, ge=0, le=100)
    """So many past exchanges are shown to the model as sound; 0 where it learned them as text."""
    takes_examples: bool = True
    """Whether the model imitates a voice's example when it reads aloud, as the published ones do;
    else only the vocoder takes it."""
    taught_roles: dict[
        Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=40)],
        tuple[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=200)]],
    ] = Field(default_factory=dict, max_length=100)
    """Roles that a model without instructions knows by heart, by name: the request that sets one,
    and the model's answer to it. In a role it is shown these two and the question alone."""


class TextOptionsSection(Section):
    """What of a text is read aloud, and as what, where a request does not say."""

    style_tags: bool = True
    """Whether "(happy)" and the like ask for a style; else they are words in brackets."""
    markdown: bool = True
    """Whether marks of Markdown, HTML and TeX are taken out; else they are signs like others."""
    numbers: bool = True
    """Whether figures, dates, units and signs are read as words; else they stay as written."""
    addresses: AddressReading = "full"
    """Of the web and of mail: in full, their host alone, or left out."""
    unreadable: UnreadableReading = "refuse"
    """A sentence in letters that the model was not taught refuses the text, or is left out."""


class Sampling(Section):
    """How ids are drawn unless a request says otherwise."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    repetition_window: int = Field(default=0, ge=0, le=1000)
    max_tokens: int = Field(default=2048, ge=1, le=32768)
    seed: int | None = Field(default=None, ge=0)
    """Of the ids and of the vocoder's noise. Left out: drawn anew for each answer."""


class WeatherSection(Section):
    """A weather provider that answers GET with JSON."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S*\{city\}\S*$")]
    """With {city} where the city goes."""
    condition: str = "condition"
    """Where the condition stands in the answer: keys and indices, joined by dots."""
    temperature: str = "temperature"
    """Where the degrees Celsius stand."""
    timeout_s: Positive = 5.0


class McpSection(Section):
    """An MCP server (streamable HTTP)."""

    url: Url
    token: SecretStr | None = None
    """Set it by STEP_AUDIO__TOOLS__MCP__NAME__TOKEN, never in a file."""
    tools: tuple[str, ...] | None = None
    """The tools to take. Left out: all."""
    timeout_s: Positive = 10.0


class Tools(Section):
    """What is built in, and what others bring."""

    kind: Literal["general", "nano", "fake", "local"] = "general"
    """general: clock, calculator, units, timers. nano: those that nano was trained with. fake:
    nano's, answering from `seed`, for evaluation. local: the old name of nano."""
    seed: int = Field(default=0, ge=0)
    timezone: str | None = Field(default=None, max_length=64)
    """The zone of "here" by its name in the tz database: Europe/Paris. Left out: this machine's."""
    dialect: Literal["nano", "json_schemas"] = "nano"
    """How calls are written: as nano learned it, or as the published models do (schemas in a turn
    of their own). It belongs to the checkpoint."""
    result_role: Literal["input", "function_output"] = "input"
    """Whose turn a tool's result is in the dialect json_schemas: as in the examples of the newest
    published models, or as older code of theirs has it."""
    weather: WeatherSection | None = None
    mcp: dict[KeyName, McpSection] = Field(default_factory=dict, max_length=16)
    """MCP servers by a name of yours. Their tools are told to models whose dialect lists tools."""
    timeout_s: Positive = 15.0
    """A call that takes longer has failed, and the model is told so."""
    bridge_after_s: Positive = 1.0
    """A call that takes longer is bridged by `bridge`, spoken."""
    bridge: str = Field(default="One moment.", max_length=200)
    """Empty: nothing is said meanwhile."""
    bridges: dict[
        Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], Annotated[str, Field(max_length=200)]
    ] = Field(default_factory=dict)
    """The same in more languages, by their ISO 639-1 codes: that of the conversation is taken, as a
    recognizer heard it or by its letters (en, ja, ko, zh), `bridge` where it has none."""
    wait_s: Positive = 4.0
    """The floor is given back after so long; the result is spoken when it comes."""


class Limits(Section):
    """What one client may ask for."""

    max_question_s: Positive = 30.0
    max_sessions: int = Field(default=4, ge=1, le=1000)
    """Sockets at a time, and beside them as many requests that speak or listen, which give way."""
    admission: Literal["measured", "fixed"] = "measured"
    """measured: `max_sessions` is the ceiling; fewer are let in while answers show that the
    machine cannot serve so many. fixed: always so many."""
    resume_window_s: float = Field(default=60.0, ge=0, le=3600)
    """So long a session waits for a client whose socket dropped, if it asked for that."""
    drain_s: float = Field(default=15.0, ge=0, le=600)
    """So long an answer under way may go on after SIGTERM, or at the end of `session_s`."""
    idle_s: float = Field(default=900.0, ge=5, le=86_400)
    """A realtime session without speech, answer, tool call or message for so long is ended."""
    session_s: float = Field(default=3600.0, ge=10, le=604_800)
    """Longest realtime session."""
    warning_s: float = Field(default=30.0, ge=1, le=600)
    """So long before either end a client that asks for it is warned."""


class ServerSection(Section):
    """Where `serve` listens; without a key only this machine should reach it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    api_key: SecretStr | None = None
    """Asked of every request; set it by STEP_AUDIO__SERVER__API_KEY, never in a file."""
    keys: dict[KeyName, KeyHash] = Field(default_factory=dict, max_length=1000)
    """More keys, by a name of yours; hashes as `step-audio key` prints them."""
    origins: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/]+$")], ...] = ()
    """Web pages elsewhere that may talk to this server: https://name:port."""
    voice_names: dict[str, str] = Field(default_factory=dict, max_length=1000)
    """Which voice a client's name means, such as {alloy: slt}. OpenAI's and StepFun's names that
    are not listed are dealt out over the voices there are."""
    traces: Path | None = None
    """Folder for traces of sessions that ask for one: all that is said in them, for `replay`."""
    spans: bool = False
    """Whether each turn is told to OpenTelemetry (extra `telemetry`, OTEL_* variables)."""
    open_metrics: bool = False
    """Whether /metrics is read without a key."""
    log: Literal["text", "json"] = "text"
    """How `serve` logs to stderr: lines for people, or an object a line for a collector."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    hosts: tuple[str, ...] | None = None
    """Names the server answers to, without port; none at all for any. Left out: any with a key,
    else only those of this machine, so that no web page elsewhere can use it."""


class Profile(Section):
    """One deployment."""

    model_name: str = Field(min_length=1)
    responder: Literal["direct", "cascade", "chat", "speech"]
    """direct: the LM hears and speaks. cascade: it answers in text, a second model speaks.
    chat: a chat model at `chat` answers in text, `transcriber` hears, `engine` speaks.
    speech: no conversation, text to speech only."""
    weights: Path
    """Folder; in a file relative to that file. Layout: weights.py."""
    origin: str = Field(min_length=1)
    """Where the weights come from; told to whoever lacks them."""
    voice: str = Field(min_length=1)
    voice_origin: str = ""
    """The command that brings the voice; told to whoever lacks it."""
    voice_folder: Path = Path("~/.local/share/step-audio/voices")
    """Where voices that people add are kept; in a file relative to that file."""
    role_folder: Path | None = None
    """Folder of role cards of your own, NAME.yaml each, beside those that ship; in a file relative
    to that file. Read at the start."""
    engine: Annotated[
        LocalEngineSection | VllmEngineSection | ScriptedEngineSection | SpeechEndpointSection,
        Field(discriminator="kind"),
    ]
    speech_engine: (
        Annotated[LocalEngineSection | VllmEngineSection, Field(discriminator="kind")] | None
    ) = None
    """The second model of a cascade."""
    chat: ChatSection | None = None
    """Who answers, with the responder `chat`."""
    transcriber: (
        Annotated[
            WhisperSection | TranscriptionEndpointSection | OwnModelSection,
            Field(discriminator="kind"),
        ]
        | None
    ) = None
    """Who writes down what is said: for `chat`, for clients that ask for words, and for the
    history of a conversation, in which old questions stand as words. Left out: the model of
    `weights`, if it has a `dialog.transcribe_prompt`; else who asks for words gets status 501."""
    threads: int = Field(default=1, ge=1, le=64)
    """CPU threads of one model. LM, ear and voice run side by side, each with so many; more
    than one slows a small model down as soon as the cores are shared. The LM tries at its start
    whether it is better off with fewer."""
    tokenizer: TokenizerSection = TokenizerSection()
    turn_detector: TurnDetectorSection = TurnDetectorSection()
    turns: TurnsSection = TurnsSection()
    vocoder: VocoderSection = VocoderSection()
    dialog: DialogSection = DialogSection()
    text_options: TextOptionsSection = TextOptionsSection()
    sampling: Sampling = Sampling()
    reading: Sampling | None = None
    """Of what is read aloud; left out: as `sampling`."""
    tools: Tools = Tools()
    limits: Limits = Limits()
    server: ServerSection = ServerSection()
