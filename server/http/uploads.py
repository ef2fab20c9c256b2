"""Sound that clients send in: decoded off the event loop, up to a limit, step by step."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from typing import BinaryIO, Final

from server.http.errors import RequestError
from step_audio.core.decoding import decode_audio
from step_audio.core.errors import AudioError
from step_audio.core.types import Pcm

MAX_UPLOAD_S: Final = 600.0
"""Longest sound that is transcribed at a time; longer is refused with 413."""


async def decoded(file: BinaryIO, *, max_s: float, param: str) -> tuple[Pcm, int]:
    """Return (samples, rate) of a file.

    Raises:
        AudioTooLong; RequestError: not sound that can be used, under the name of the field.
    """
    try:
        return await asyncio.to_thread(decode_audio, file, max_s)
    except AudioError as error:
        if error.code != AudioError.code:
            raise
        raise RequestError(str(error), code=error.code, param=param) from error


async def decoded_base64(data: str, *, max_s: float, param: str) -> tuple[Pcm, int]:
    """Return the same of base64 text; a `data:` address is taken too."""
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("this is not base64", code="invalid_audio", param=param) from None
    return await decoded(io.BytesIO(raw), max_s=max_s, param=param)
