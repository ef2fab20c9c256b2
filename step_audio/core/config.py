"""Profiles: YAML for people, checked by pydantic; STEP_AUDIO__A__B overrides the key a.b.

Nothing else in the project reads the environment. No inheritance: each file is whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from step_audio.core.errors import ProfileError
from step_audio.core.profile import ENGINE_KINDS, TRANSCRIBER_KINDS, Profile

PREFIX: Final = "STEP_AUDIO__"
MAX_BYTES: Final = 65536
_OF_A_KIND: Final = ("engine", "speech_engine", "transcriber")
"""Sections whose keys depend on their `kind`."""
_FOLDER: Final = Path(__file__).parents[1] / "profiles"


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles that ship with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_profile(name_or_path: str, environ: Mapping[str, str] = os.environ) -> Profile:
    """Return a profile, shipped (`nano`) or from a file (`my/profile.yaml`).

    Raises:
        ProfileError: one line that names the key and says what is allowed.
    """
    path = _find(name_or_path)
    raw = _read(path)
    for key in ("weights", "voice_folder", "role_folder"):
        if isinstance(given := raw.get(key), str):
            raw[key] = os.path.normpath(path.parent / os.path.expanduser(given))
    for key, value in environ.items():
        if key.upper().startswith(PREFIX):
            _override(raw, key, value)
    try:
        profile = Profile.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise ProfileError(f"profile {name_or_path}: {_explain(details[0])}{more}") from None
    places = {"weights": profile.weights, "voice_folder": profile.voice_folder}
    if profile.role_folder is not None:
        places["role_folder"] = profile.role_folder
    # expanduser leaves a ~ that stands for nobody: then it is a folder of that name.
    absolute = {key: Path(os.path.expanduser(p)).absolute() for key, p in places.items()}
    return profile.model_copy(update=absolute)


def raw_profile(name_or_path: str) -> dict[str, Any]:
    """Return the keys of a profile as its file has them. Raises ProfileError."""
    return _read(_find(name_or_path))


def _find(name_or_path: str) -> Path:
    if name_or_path in profile_names():
        return _FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        raise ProfileError(
            f"no profile {name_or_path!r}; give one of {', '.join(profile_names())}"
            " or the path of a .yaml file"
        )
    return path.absolute()


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"cannot read profile {path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ProfileError(f"profile {path} is larger than {MAX_BYTES} bytes")
    try:
        raw = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ProfileError(f"profile {path}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ProfileError(f"profile {path} is not YAML") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ProfileError(f"profile {path} must be keys and values, as in profiles/nano.yaml")
    return raw


def _override(raw: dict[str, Any], variable: str, value: str) -> None:
    """Set one key from the environment; pydantic turns the text into the key's type."""
    *sections, last = variable[len(PREFIX) :].lower().split("__")
    for section in sections:
        inner = raw.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ProfileError(f"{variable}: {section!r} is a single value, not a section")
        raw = inner
    raw[last] = None if value == "null" else value


def _explain(detail: ErrorDetails) -> str:
    """Return `key: what is wrong, what is allowed` of one pydantic error."""
    key, context = ".".join(_keys(detail["loc"])), detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return f"{key} is missing"
        case "union_tag_not_found":
            kinds = TRANSCRIBER_KINDS if key == "transcriber" else ENGINE_KINDS
            return f"{key}.kind is missing; allowed: {', '.join(kinds)}"
        case "union_tag_invalid":
            return f"{key}.kind must be one of {context['expected_tags']}"
        case "literal_error":
            return f"{key} must be {context['expected']}, not {detail['input']!r}"
        case "unknown_key":
            unknown = ".".join([*_keys(detail["loc"]), context["key"]])
            return f"{unknown} is no key; allowed there: {context['allowed']}"
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:]
            return f"{key}: {message}, not {detail['input']!r}"


def _keys(location: Sequence[int | str]) -> list[str]:
    """Return the key as the file shows it: without the tag that chose the kind of a part."""
    parts = [str(part) for part in location]
    kinds = {*ENGINE_KINDS, *TRANSCRIBER_KINDS} if parts[:1] and parts[0] in _OF_A_KIND else {""}
    return parts[:1] + [part for part in parts[1:2] if part not in kinds] + parts[2:]
