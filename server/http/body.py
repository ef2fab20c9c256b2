"""What clients send as JSON, in any part of it."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, model_validator

from server.http.errors import RequestError

_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_BREAKS: Final = b" \t\r\n"


def base64_bytes(text: str, param: str) -> bytes:
    """Return the bytes of base64, as lenient as it can be without a guess.

    Line breaks, the alphabet of addresses ("-" and "_"), missing padding and the head of a `data:`
    address are fine.

    Raises:
        RequestError: it is none, in the field `param`.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        plain = text.encode("ascii").translate(_STANDARD, _BREAKS).rstrip(b"=")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        said = "not base64; encode the bytes with the alphabet of RFC 4648"
        raise RequestError(said, code="invalid_audio", param=param) from None


class Body(BaseModel):
    """Fields not named are ignored, and null is the same as left out.

    Many clients send every field they know, null where nobody chose.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}
