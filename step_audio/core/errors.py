"""The one error tree. `code` is stable and may be shown to clients; facts are attributes."""

from __future__ import annotations


class StepAudioError(Exception):
    """Base of every error that this project raises on purpose."""

    code = "internal_error"


class PartFailed(StepAudioError):
    """A part raised what it should not: a bug of ours, or of a library. The log has the chain."""

    def __init__(self, part: str) -> None:
        super().__init__(f"internal error in the {part}; see the server's log")
        self.part = part


class InputError(StepAudioError):
    """Something from outside is wrong; the message says what and what to do."""

    code = "invalid_input"


class AudioError(InputError):
    """Audio that cannot be used: not audio, empty, NaN, silent, too long."""

    code = "invalid_audio"


class ProfileError(InputError):
    """A profile that does not exist or does not validate."""

    code = "invalid_profile"


class WeightsError(InputError):
    """A weights folder that is missing, truncated, altered, or not of its manifest's shapes."""

    code = "invalid_weights"


class VoiceNotFound(InputError):
    """No voice of that name."""

    code = "voice_not_found"

    def __init__(self, name: str, known: tuple[str, ...], bring: str = "") -> None:
        """Args: `bring` is the command that brings the voice, "" where none is known."""
        advice = f"; bring it with: {bring}" if bring else ""
        super().__init__(f"unknown voice {name!r}; available: {', '.join(known) or 'none'}{advice}")
        self.name, self.known = name, known


class VoiceRefused(InputError):
    """A voice that cannot be added under that name, or cannot be removed."""

    code = "voice_refused"


class CannotSing(InputError):
    """Rap or humming asked of a deployment that does neither."""

    code = "singing_unsupported"

    def __init__(self, model: str, tag: str) -> None:
        super().__init__(
            f"{model} does not do ({tag}): it takes a model that was taught it and a vocoder for"
            " singing (vocoder_music of the weights); leave the tag out"
        )
        self.model, self.tag = model, tag


class ShapeError(StepAudioError):
    """Arrays whose shapes do not fit each other."""

    code = "shape_mismatch"


class TokenError(StepAudioError):
    """An id or code outside the ranges of the vocabulary."""

    code = "invalid_token"


class TurnError(StepAudioError):
    """An event that the turn table has no row for."""

    code = "invalid_turn"


class ToolError(InputError):
    """A tool call that cannot be carried out."""

    code = "tool_failed"


class ToolLate(ToolError):
    """A tool call that took too long."""

    code = "tool_late"


class EngineError(StepAudioError):
    """The engine broke while generating."""

    code = "engine_failed"


class EngineUnavailable(EngineError):
    """The engine gave no first token; the caller may retry. Subclasses say why."""

    code = "engine_unavailable"

    def __init__(self, message: str, waited_s: float = 0.0) -> None:
        super().__init__(message)
        self.waited_s = waited_s


class EngineTimeout(EngineUnavailable):
    """The engine took the request and gave no token in time."""

    code = "engine_timeout"

    def __init__(self, where: str, waited_s: float) -> None:
        super().__init__(f"no token from {where} after {waited_s:.1f} s", waited_s)


class EngineUnreachable(EngineUnavailable):
    """Nobody answers at the engine's address, or every connection to it breaks."""

    code = "engine_unreachable"

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            "the engine cannot be reached; it has ended, or has not started yet", waited_s
        )


class EngineOverloaded(EngineUnavailable):
    """The engine says that it has no room."""

    code = "engine_overloaded"

    def __init__(self, waited_s: float) -> None:
        super().__init__("the engine has no room for another request; try again later", waited_s)


class EngineLost(EngineError):
    """The connection to an engine broke, or what came was no answer; another one may serve."""

    code = "engine_lost"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"the engine was lost: {why}")
        self.where, self.why = where, why


class EngineFull(EngineLost):
    """An engine said that it has no room now."""


class EngineGone(EngineLost):
    """Nobody answers at an engine's address, or the connection was cut: what comes back there may
    be another engine."""


class EngineRefused(EngineError):
    """An engine understood a request and refused it; asking again changes nothing."""

    code = "engine_refused"

    def __init__(self, where: str, status: int, why: str) -> None:
        super().__init__(f"the engine refused the request ({status}): {why}")
        self.where, self.status, self.why = where, status, why


class CannotTranscribe(StepAudioError):
    """Nobody in this deployment writes down what is said."""

    code = "transcription_unsupported"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} was not taught to transcribe; give its profile a transcriber: Whisper or an"
            " endpoint (docs/profiles.md)"
        )
        self.model = model


class Overloaded(StepAudioError):
    """A bounded queue or the session limit is full; try again later."""

    code = "overloaded"


class ItemNotFound(InputError):
    """A conversation item that is not there, or is not of the kind that was meant."""

    code = "item_not_found"

    def __init__(self, item_id: str, wanted: str = "item") -> None:
        super().__init__(f"no {wanted} {item_id!r} in this conversation")
        self.item_id = item_id


class DuplicateItem(InputError):
    """A conversation item whose id is taken."""

    code = "duplicate_item"

    def __init__(self, item_id: str) -> None:
        super().__init__(f"item {item_id!r} is already in this conversation; choose another id")
        self.item_id = item_id
