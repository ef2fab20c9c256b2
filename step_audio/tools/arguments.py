"""Tool arguments: JSON text that a model wrote, checked against the tool's schema.

The schemas use a small part of JSON Schema: an object of strings, integers and numbers, with
`enum`, `minimum`, `maximum`, `maxLength`, `required`; other keys are always refused.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from step_audio.core.errors import ToolError
from step_audio.core.ports import ToolSpec

MAX_CHARS: Final = 1000


def parse_arguments(spec: ToolSpec, text: str) -> dict[str, Any]:
    """Return the arguments in `text` if they fit the schema of `spec`.

    Raises:
        ToolError: not JSON, not an object, too long, or not of the schema; says which key.
    """
    if len(text) > MAX_CHARS:
        raise ToolError(f"{spec.name}: arguments have {len(text)} characters; at most {MAX_CHARS}")
    try:
        values = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{spec.name}: arguments are not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ToolError(f"{spec.name}: arguments must be a JSON object")
    properties = spec.parameters["properties"]
    if unknown := sorted(set(values) - set(properties)):
        known = ", ".join(properties) or "none"
        raise ToolError(f"{spec.name}: unknown argument {unknown[0][:40]!r}; known: {known}")
    for name in spec.parameters.get("required", ()):
        if name not in values:
            raise ToolError(f"{spec.name}: argument {name!r} is missing")
    for name, value in values.items():
        if problem := _problem(properties[name], value):
            raise ToolError(f"{spec.name}: argument {name!r} {problem}")
    return values


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _problem(schema: dict[str, Any], value: object) -> str | None:
    if schema["type"] == "string":
        return _text_problem(schema, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if not isinstance(value, int) and (schema["type"] == "integer" or not math.isfinite(value)):
        return "must be a whole number" if schema["type"] == "integer" else "must be finite"
    if not schema["minimum"] <= value <= schema["maximum"]:
        return f"must be between {schema['minimum']} and {schema['maximum']}"
    return None


def _text_problem(schema: dict[str, Any], value: object) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of: {', '.join(schema['enum'])}"
    if not 1 <= len(value) <= schema.get("maxLength", MAX_CHARS):
        return f"must have 1 to {schema.get('maxLength', MAX_CHARS)} characters"
    return None
