"""The JSON text of tool arguments and tool results.

Every character costs tokens and latency, so texts are compact and keys have a fixed order.
"""

from __future__ import annotations

import json
from typing import Any, Final

UNAVAILABLE: Final = '{"error":"unavailable"}'
"""The result when a tool has no provider for live values."""
FAILED: Final = '{"error":"failed"}'
"""The result that a conversation shows to the model after a ToolError."""


def compact(**values: Any) -> str:
    """Return `values` as JSON text without spaces, keys in the order given."""
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def is_object(arguments: str) -> bool:
    """Return whether arguments are the text of a JSON object."""
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False
