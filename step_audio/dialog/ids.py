"""Ids of items, responses, calls and sessions."""

from __future__ import annotations

import uuid


def new_id() -> str:
    """Return an id that is unique and unguessable: 88 bits.

    Clients cut ids of calls at 32 characters, prefix included; the longest is `item_call_`.
    """
    return uuid.uuid4().hex[:22]
