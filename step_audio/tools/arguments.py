"""Tool arguments: JSON text that a model wrote, checked against the tool's schema.

`check_arguments` takes any JSON Schema, such as those of MCP servers. The schemas of our own tools
use a small part of JSON Schema: an object of strings, integers and numbers, with
`enum`, `minimum`, `maximum`, `maxLength`, `required`; other keys are always refused.
"""

from __future__ import annotations

import json
import logging
import math
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import UnknownType, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from step_audio.core.errors import ToolError
from step_audio.core.ports import ToolSpec

MAX_CHARS: Final = 1000
MAX_REMOTE_CHARS: Final = 10_000
"""Of arguments for our own tools, and for those of others."""
_SHOWN_CHARS: Final = 300
_LOG = logging.getLogger(__name__)


def _passed_over(*_: object) -> tuple[()]:
    """A keyword that is not checked: a pattern of strangers can take for ever."""
    return ()


_Validator: Final = extend(Draft202012Validator, {"pattern": _passed_over})


def parse_arguments(spec: ToolSpec, text: str) -> dict[str, Any]:
    """Return the arguments in `text` if they fit the schema of `spec`.

    Raises:
        ToolError: not JSON, not an object, too long, or not of the schema; says which key.
    """
    values = _object(spec, text, MAX_CHARS)
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


def check_arguments(spec: ToolSpec, text: str) -> None:
    """Check arguments against any JSON Schema; one that is none itself is passed over.

    Raises:
        ToolError: not JSON, not an object, too long, or not of the schema; says where.
    """
    values = _object(spec, text, MAX_REMOTE_CHARS)
    try:
        # Nothing is fetched for a schema that refers elsewhere.
        validator = _Validator(spec.parameters, registry=Registry())
        problem = best_match(validator.iter_errors(values))
    except (Unresolvable, UnknownType, RecursionError, AttributeError, TypeError, ValueError):
        _LOG.warning("a tool's schema cannot be used", extra={"tool": spec.name[:40]})
        return
    if problem is not None:
        where = "/".join(str(key) for key in problem.absolute_path)
        place = f" {where!r}" if where else ""
        raise ToolError(f"{spec.name}: argument{place}: {problem.message[:_SHOWN_CHARS]}")


def _object(spec: ToolSpec, text: str, most: int) -> dict[str, Any]:
    """Return the JSON object in a text. Raises ToolError."""
    if len(text) > most:
        raise ToolError(f"{spec.name}: arguments have {len(text)} characters; at most {most}")
    try:
        values = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{spec.name}: arguments are not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ToolError(f"{spec.name}: arguments must be a JSON object")
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
