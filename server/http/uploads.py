"""Sound files that clients send in: decoded by other processes, up to a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from fastapi import UploadFile

from server.http.body import base64_bytes
from server.http.errors import RequestError
from step_audio.core.decoding import AudioTooLong
from step_audio.core.errors import AudioError
from step_audio.core.ports import Services
from step_audio.core.types import DecodedSound

MAX_UPLOAD_S: Final = 600.0
"""Longest sound that is transcribed at a time; longer is refused with 413."""
WARNINGS_HEADER: Final = "step-audio-warnings"
"""Of answers to sound of which something was skipped: what, for answers that are no JSON."""


async def decoded(
    services: Services, file: UploadFile | bytes, *, max_s: float, param: str
) -> DecodedSound:
    """Return what can be heard of a file.

    Raises:
        Overloaded; RequestError: nothing can be heard, or too much, under the name of the field.
    """
    data = file if isinstance(file, bytes) else await file.read()
    try:
        sound = await services.sound_decoder.decode(data, max_s)
    except AudioError as error:
        too_long = isinstance(error, AudioTooLong)
        if error.code != AudioError.code and not too_long:
            raise
        status = 413 if too_long else 400
        raise RequestError(str(error), code=error.code, param=param, status=status) from error
    if sound.warnings:
        services.recorder.observe("sound_warnings", 1)
    return sound


async def decoded_base64(
    services: Services, data: str, *, max_s: float, param: str
) -> DecodedSound:
    """Return the same of base64 text; a `data:` address is taken too."""
    raw = await asyncio.to_thread(base64_bytes, data, param)  # 25 MiB take 50 ms
    return await decoded(services, raw, max_s=max_s, param=param)


def warning_headers(warnings: Sequence[str]) -> dict[str, str]:
    """Return what an answer's headers say of sound that was skipped."""
    text = "; ".join(warnings).encode("ascii", "backslashreplace").decode()
    return {WARNINGS_HEADER: text} if text else {}


def warning_facts(warnings: Sequence[str]) -> dict[str, list[str]]:
    """Return what an answer in JSON says of it; nothing when all was heard."""
    return {"warnings": list(warnings)} if warnings else {}
