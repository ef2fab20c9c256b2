"""Which of several engine addresses serves a request. No network: it is told what happened.

A session goes where its prefix is known, unless that address has clearly more to do than another;
everyone else goes where least is done. An address that failed rests, twice as long each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from step_audio.core.errors import InputError


@dataclass(slots=True)
class _Member:
    """What is known of one address."""

    serving: int = 0
    chosen: int = 0
    failures: int = 0
    rests_until_s: float = 0.0


class Fleet:
    """The addresses of one model. One event loop only."""

    def __init__(
        self,
        addresses: Sequence[str],
        now_s: Callable[[], float],
        *,
        slack: int = 4,
        rest_s: float = 1.0,
        longest_rest_s: float = 30.0,
        max_sessions: int = 10_000,
    ) -> None:
        """Prepare; all addresses are taken for alive.

        Args:
            addresses: at least one, each once.
            now_s: a steady clock.
            slack: requests that a session's own address may have on top of the least loaded one;
                a prefix computed anew costs more than sharing a step with so many.
            rest_s, longest_rest_s: how long an address is avoided after one failure, and at most.
            max_sessions: sessions remembered, the least recently served forgotten first.
        """
        if not addresses or len(set(addresses)) < len(addresses):
            raise InputError("an engine needs at least one address, and each only once")
        self._members = {address: _Member() for address in addresses}
        self._now_s, self._slack = now_s, slack
        self._rest_s, self._longest_rest_s = rest_s, longest_rest_s
        self._homes: OrderedDict[str, str] = OrderedDict()
        self._max_sessions = max_sessions

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses, resting or not."""
        return tuple(self._members)

    def order(self, session: str = "") -> list[str]:
        """Return every address, the one to ask first in front, resting ones at the end."""
        now_s = self._now_s()
        home = self._homes.get(session)
        least = min(member.serving for member in self._members.values())

        def cost(address: str) -> tuple[float, bool, int, int]:
            member = self._members[address]
            resting = max(0.0, member.rests_until_s - now_s)
            at_home = address == home and member.serving <= least + self._slack
            # Among equals the one chosen least often: idle engines take turns.
            return resting, not at_home, member.serving, member.chosen

        return sorted(self._members, key=cost)

    @contextmanager
    def serving(self, address: str) -> Iterator[None]:
        """Count a request at an address while it runs."""
        member = self._members[address]
        member.serving += 1
        member.chosen += 1
        try:
            yield
        finally:
            member.serving -= 1

    def worked(self, address: str, session: str = "") -> None:
        """Note that an address answered, and that it knows this session's prefix now."""
        member = self._members[address]
        member.failures, member.rests_until_s = 0, 0.0
        if session:
            self._homes[session] = address
            self._homes.move_to_end(session)
            while len(self._homes) > self._max_sessions:
                self._homes.popitem(last=False)

    def failed(self, address: str) -> None:
        """Note that an address did not answer, or broke off."""
        member = self._members[address]
        rest_s = min(self._longest_rest_s, self._rest_s * 2**member.failures)
        member.failures = min(member.failures + 1, 30)
        member.rests_until_s = self._now_s() + rest_s
