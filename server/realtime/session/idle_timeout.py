"""How long nobody has said anything, in time of the input. Pure."""

from __future__ import annotations


class IdleTimer:
    """Watches one session's input for `idle_timeout_ms`."""

    def __init__(self) -> None:
        self._from_ms: int | None = None

    def hear(self, now_ms: int, limit_ms: int | None, *, quiet: bool) -> tuple[int, int] | None:
        """Return where a silence of the limit began and ended, None while there is none.

        Args:
            now_ms: length of everything that was heard.
            limit_ms: None: nobody minds.
            quiet: whether an answer was given and played, and nobody speaks.
        """
        if limit_ms is None or not quiet:
            self._from_ms = None
            return None
        if self._from_ms is None:
            self._from_ms = now_ms
        if now_ms - self._from_ms < limit_ms:
            return None
        began_ms, self._from_ms = self._from_ms, None
        return began_ms, now_ms
