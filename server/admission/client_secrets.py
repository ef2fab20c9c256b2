"""Keys for one session each, which an operator's server hands to a browser instead of its own.

They live in memory: after a restart they are unknown, and the browser asks for another one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from step_audio.core.errors import Overloaded

PREFIX: Final = "ek_"
_KEPT_SPENT_S: Final = 3600.0
"""So long a secret that opened a session may take it up again, and is called spent after that."""


@dataclass(slots=True)
class ClientSecret:
    """One secret.

    Attributes:
        config: the settings that its session begins with.
        owner: name of the key that asked for it.
        expires_s: Unix time after which it opens nothing.
        spent: whether it has opened a session.
    """

    value: str
    config: Any
    owner: str | None
    expires_s: float
    spent: bool = False


class ClientSecrets:
    """The secrets of one server. Not for threads.

    Args:
        most: kept at a time.
        now_s: Unix time.
    """

    def __init__(self, *, most: int = 10_000, now_s: Callable[[], float] = time.time) -> None:
        self._most, self._now_s = most, now_s
        self._kept: dict[str, ClientSecret] = {}

    def make(self, config: Any, lifetime_s: float, owner: str | None) -> ClientSecret:
        """Return a new secret. Raises Overloaded: too many are waiting to be used."""
        now_s = self._now_s()
        if len(self._kept) >= self._most:
            self._kept = {
                value: kept
                for value, kept in self._kept.items()
                if now_s < kept.expires_s + (_KEPT_SPENT_S if kept.spent else 0)
            }
        if len(self._kept) >= self._most:
            raise Overloaded(f"{self._most} client secrets wait to be used; try again later")
        value = PREFIX + secrets.token_urlsafe(32)
        self._kept[value] = made = ClientSecret(value, config, owner, now_s + lifetime_s)
        return made

    def state(
        self, value: str, *, resuming: bool = False
    ) -> Literal["good", "expired", "spent", "unknown"]:
        """Return what a secret is worth now; one that opened a session may also resume it."""
        kept = self._kept.get(value)
        if kept is None:
            return "unknown"
        if kept.spent:
            fresh = self._now_s() < kept.expires_s + _KEPT_SPENT_S
            return "good" if resuming and fresh else "spent"
        return "good" if self._now_s() < kept.expires_s else "expired"

    def owner(self, value: str) -> str | None:
        """Return the name of the key that asked for a secret."""
        kept = self._kept.get(value)
        return kept.owner if kept else None

    def spend(self, value: str) -> Any | None:
        """Mark a secret as used and return its settings; None when it is not good any more."""
        if self.state(value) != "good":
            return None
        kept = self._kept[value]
        kept.spent = True
        return kept.config


REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "expired": ("client_secret_expired", "this client secret has expired; ask for another one"),
    "spent": (
        "client_secret_spent",
        "this client secret has opened its session; ask for another one",
    ),
    "unknown": ("invalid_client_secret", "no such client secret; ask for another one"),
}
"""State -> (code, message) of a refusal."""
