"""One session's place among those that the server lets in: held only while a client is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack


class Place:
    """A place that is taken for a socket and given back with it.

    Args:
        admit: takes a place and puts what gives it back on the stack. Raises Overloaded: the
            server is full.
    """

    def __init__(self, admit: Callable[[ExitStack], None]) -> None:
        self._admit = admit
        self._held: ExitStack | None = None

    def take(self) -> None:
        """Hold a place; nothing happens when one is held. Raises Overloaded: none is free."""
        if self._held is None:
            with ExitStack() as taking:
                self._admit(taking)
                self._held = taking.pop_all()

    def free(self) -> None:
        """Give the place back, if one is held."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
