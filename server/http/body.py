"""What clients send as JSON, in any part of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

from server.http.errors import RequestError

_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_BREAKS: Final = b" \t\r\n"
_PIECE: Final = 1 << 18
_YES_NO: Final = {"true": True, "false": False}
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


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
        if b"=" in plain:
            raise ValueError
        plain += b"=" * (-len(plain) % 4)
        # In pieces, since a call holds the interpreter until it returns, in whatever thread.
        starts = range(0, len(plain), _PIECE)
        return b"".join(base64.b64decode(plain[a : a + _PIECE], validate=True) for a in starts)
    except (binascii.Error, ValueError):
        said = "not base64; encode the bytes with the alphabet of RFC 4648"
        raise RequestError(said, code="invalid_audio", param=param) from None


class Body(BaseModel):
    """Fields not named are ignored, and null is the same as left out.

    Many clients send every field they know, null where nobody chose, and take what they send out of
    forms: a number or a yes as text is one, and a name out of a list may be in capitals.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {
            name: meant(cls.model_fields[name].annotation, value)
            if name in cls.model_fields
            else value
            for name, value in given.items()
            if value is not None
        }


def meant(annotation: Any, value: Any) -> Any:
    """Return a value as one of a field's types, where it can only be meant as that."""
    kinds = list(_kinds(annotation))
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if isinstance(value, str):
        if str in kinds and not choices:
            return value  # perhaps megabytes of sound
        written = value.strip().casefold()
        named = next((c for c in choices if isinstance(c, str) and c.casefold() == written), None)
        if named is not None or str in kinds:
            return value if named is None else named
        if bool in kinds and written in _YES_NO:
            return _YES_NO[written]
    number = _number(value)
    if number is None:
        return value
    whole = int(number) if number.is_integer() else None
    if whole is not None and (whole in choices or int in kinds):
        return whole
    return number if float in kinds else value


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types of a field, without what is said about them."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for each in get_args(annotation):
            yield from _kinds(each)
    elif origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    else:
        yield annotation


def _number(value: Any) -> float | None:
    """Return a number, also one that is written as text; None: it is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value if isinstance(value, float) else None
