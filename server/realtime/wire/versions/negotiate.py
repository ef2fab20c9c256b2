"""The dialects that an upgrade can ask for, by the names under which traces keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from server.realtime.wire.versions.beta import Beta
from server.realtime.wire.versions.stateless import Stateless
from server.realtime.wire.versions.version import ProtocolVersion

STATELESS: Final = "stateless"
"""Asked for by its address."""
BETA_PROTOCOL: Final = "openai-beta.realtime-v1"
SHAPES: Final[Mapping[str, type[ProtocolVersion]]] = {"beta": Beta, STATELESS: Stateless}


def asked_version(headers: Mapping[str, str], subprotocols: Sequence[str]) -> str | None:
    """Return the dialect that the upgrade asks for, None when it does not say."""
    wanted = {part.strip() for part in headers.get("openai-beta", "").split(",")}
    return "beta" if "realtime=v1" in wanted or BETA_PROTOCOL in subprotocols else None


def version_of(dialect: str | None) -> ProtocolVersion | None:
    """Return a dialect of `SHAPES`; None: the client's first update will tell."""
    return None if dialect is None else SHAPES[dialect]()
