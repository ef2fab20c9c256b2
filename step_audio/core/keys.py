"""Bearer keys: made once, shown once, kept as hashes.

A key is 256 random bits, so a plain salted SHA-256 keeps it: there is no dictionary to try, and
every request can afford the check. A password that a person chose would need a slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final

from step_audio.core.errors import InputError

PREFIX: Final = "sa_"
MAX_KEY_CHARS: Final = 512
HASH_PATTERN: Final = r"^sha256:[0-9a-f]{16}:[0-9a-f]{64}$"


def new_key() -> str:
    """Return a fresh key, safe in headers and in subprotocol names."""
    return PREFIX + secrets.token_hex(32)


def hash_key(key: str, salt: str | None = None) -> str:
    """Return what a profile keeps of a key: `sha256:SALT:DIGEST`.

    Raises:
        InputError: too short to be random, or too long.
    """
    if not 32 <= len(key) <= MAX_KEY_CHARS:
        raise InputError(f"a key has 32 to {MAX_KEY_CHARS} characters; make one: step-audio key")
    salt = secrets.token_hex(8) if salt is None else salt
    return f"sha256:{salt}:{_digest(key, salt)}"


class Keyring:
    """The keys that are let in: some by their hash, one perhaps by itself."""

    def __init__(self, hashes: Mapping[str, str], plain: str | None = None) -> None:
        """Args: `hashes` name -> hash; `plain` a key from the environment.

        Raises:
            InputError: a hash is not one of ours.
        """
        for name, kept in hashes.items():
            if not re.fullmatch(HASH_PATTERN, kept):
                raise InputError(f"key {name!r} is not a hash; make one: step-audio key")
        self._kept = {
            name: (kept.split(":")[1], kept.split(":")[2]) for name, kept in hashes.items()
        }
        if plain is not None:
            salt = secrets.token_hex(8)
            self._kept["api_key"] = (salt, _digest(plain, salt))

    def __bool__(self) -> bool:
        """Whether any key is asked for."""
        return bool(self._kept)

    def owner(self, key: str) -> str | None:
        """Return the name of a key, None for a stranger. Compares with every key, always."""
        if len(key) > MAX_KEY_CHARS:
            return None
        found: str | None = None
        for name, (salt, digest) in self._kept.items():
            if hmac.compare_digest(_digest(key, salt), digest):
                found = name
        return found


def _digest(key: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode(errors="replace")).hexdigest()
