"""Every error in the shape OpenAI clients know: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from step_audio.core.decoding import AudioTooLong
from step_audio.core.errors import (
    CannotTranscribe,
    EngineUnavailable,
    InputError,
    Overloaded,
    StepAudioError,
)

_LOG = logging.getLogger(__name__)

_CODES: Final = {
    400: "bad_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
}


class RequestError(InputError):
    """A request that cannot be served as it is; `param` names the field."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_value",
        param: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.status = status


class ErrorDetail(BaseModel):
    """What went wrong; `code` is stable, `message` says what to do."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


_ABOUT: Final = {
    400: "The body has another shape, or something in it cannot be served; `param` says which.",
    404: "There is no such thing.",
    409: "The name is taken.",
    413: "Too much at once.",
    415: "The body is of another type than the route takes.",
    500: "A failure of the server.",
    503: "Busy or not ready; try again later.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says about the errors of a route."""
    return {status: {"model": ErrorResponse, "description": _ABOUT[status]} for status in statuses}


def expects(media_type: str) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that refuses bodies of another type, in words instead of field errors."""

    async def check(request: Request) -> None:
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given != media_type:
            raise HTTPException(415, f"send a body of type {media_type}, not {given or 'none'}")

    return check


def error_body(message: str, *, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error response."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(
    status: int, message: str, *, code: str, param: str | None = None
) -> JSONResponse:
    """Return an error response; 5xx are server errors, the rest are the client's."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(
        error_body(message, kind=kind, code=code, param=param), status, headers=headers
    )


def status_of(error: StepAudioError) -> int:
    """Return the HTTP status that says the same."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, AudioTooLong):
        return 413
    if isinstance(error, Overloaded | EngineUnavailable):
        return 503
    if isinstance(error, CannotTranscribe):
        return 501
    return 400 if isinstance(error, InputError) else 500


def what_is_wrong(found: Sequence[Mapping[str, Any]], body: Any) -> tuple[str, str | None]:
    """Return (message, field) of the first thing that is wrong with a body.

    Where a field may be one of several things, each is an error of its own; the one furthest into
    the body is of what was meant.

    Args:
        found: pydantic's errors; the first part of each place is "body", "query" or "path".
        body: as it was sent.
    """
    places = [_place(error, body) for error in found]
    meant = max(
        (at for at, place in enumerate(places) if place[: len(places[0])] == places[0]),
        key=lambda at: len(places[at]),
    )
    return str(found[meant]["msg"]), ".".join(places[meant]) or None


def _place(error: Mapping[str, Any], body: Any) -> list[str]:
    """Return the names and numbers that lead to an error, without those of our own classes."""
    parts = error["loc"][1:]
    if error["loc"][0] != "body" or not isinstance(body, dict):
        return [str(part) for part in parts]
    place: list[str] = []
    here: Any = body
    for at, part in enumerate(parts):
        is_last = at == len(parts) - 1
        inside = dict(enumerate(here)) if isinstance(here, list) else here
        if isinstance(inside, dict) and part in inside:
            here = inside[part]
        elif not (is_last and error["type"] == "missing"):
            continue
        place.append(str(part))
    return place


def install(app: FastAPI) -> None:
    """Make an application answer every error in this shape."""
    app.add_exception_handler(StepAudioError, _on_our_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_any_error)


async def _on_our_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StepAudioError)
    param = error.param if isinstance(error, RequestError) else None
    return error_response(status_of(error), str(error), code=error.code, param=param)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "http_error")
    message = f"{error.detail}: {request.method} {request.url.path}{_hint(request.url.path)}"
    response = error_response(error.status_code, message, code=code)
    response.headers.update(error.headers or {})
    return response


def _hint(path: str) -> str:
    """Return what to do about the usual mistake in a client's base address."""
    if path.startswith("/v1/v1/"):
        return "; the client adds /v1 itself: leave it out of the base address"
    if path.split("/")[1] in ("audio", "chat", "models", "realtime"):
        return "; the base address ends in /v1"
    return ""


async def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found[0]["type"] == "json_invalid":
        why = found[0].get("ctx", {}).get("error", "")
        return error_response(400, f"the body is no JSON: {why}", code="invalid_json")
    message, param = what_is_wrong(found, error.body)
    return error_response(400, message, code="invalid_value", param=param)


async def _on_any_error(_: Request, error: Exception) -> JSONResponse:
    _LOG.error("request failed", exc_info=error)
    return error_response(500, "internal error; see the server's log", code="internal_error")
