"""Sound that clients send in: decoded off the event loop, up to a limit, step by step."""

from __future__ import annotations

import asyncio
import io
from typing import BinaryIO, Final

from server.http.body import base64_bytes
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
    return await decoded(io.BytesIO(base64_bytes(data, param)), max_s=max_s, param=param)
