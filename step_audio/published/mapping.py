"""A Step1 inside a larger checkpoint: found by the ends of names and by shapes, never guessed.

Step-Audio-AQAA's folder calls itself `mmgpt_step1_v2` and has 136.7e9 parameters; the LM has
131.9e9 and the rest belongs to vision. Everything below the LM's prefix must be placed; what lies
beside it is left aside and listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from step_audio.core.errors import WeightsError
from step_audio.engine.sizes import CONFIG_KEYS, Sizes
from step_audio.published.headers import TensorFacts

MODEL_TYPES: Final = ("step1", "mmgpt_step1_v2")
_ANCHOR: Final = "layers.0.self_attn.q_proj.weight"
_HEAD: Final = "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where Step1's tensors are.

    Attributes:
        names: Step1's name -> name in the checkpoint.
        aside: beginning of other names -> their parameters.
        parameters: of the LM.
    """

    names: Mapping[str, str]
    aside: Mapping[str, int]
    parameters: int


def sizes_of(config: Mapping[str, Any]) -> Sizes:
    """Return the LM's sizes in a `config.json`, at its top or in one section of it.

    Raises:
        WeightsError: they are missing, or there are several.
    """
    sections = [config, *(s for s in config.values() if isinstance(s, dict))]
    found = [s for s in sections if all(key in s for key in CONFIG_KEYS.values())]
    if len(found) != 1:
        missing = [key for key in CONFIG_KEYS.values() if key not in config]
        what = (
            "several sections with" if found else f"no {', '.join(missing) or 'section with all'}:"
        )
        raise WeightsError(f"config.json has {what} the sizes of a Step1")
    given = {name: found[0][key] for name, key in CONFIG_KEYS.items()}
    values = {name: n for name, n in given.items() if type(n) is int and n > 0}
    if len(values) < len(given):
        raise WeightsError("config.json has a size that is no positive number")
    return Sizes(**values, tied=found[0].get("tie_word_embeddings") is True)


def map_step1(tensors: Mapping[str, TensorFacts], sizes: Sizes) -> Placement:
    """Return where the tensors of a Step1 of these sizes are.

    Raises:
        WeightsError: naming the first tensor that is missing, has another shape, or lies below
            the LM's prefix without a place in it.
    """
    shapes = sizes.tensor_shapes()
    prefix = _prefix(tensors, shapes[f"model.{_ANCHOR}"])
    names: dict[str, str] = {}
    for name, shape in shapes.items():
        there = _head(tensors, shape) if name == _HEAD else prefix + name.removeprefix("model.")
        if there not in tensors:
            raise WeightsError(f"no tensor for {name}: {there} is not in the checkpoint")
        if tensors[there].shape != shape:
            raise WeightsError(
                f"{there} has shape {tensors[there].shape}, the config asks for {shape}"
            )
        names[name] = there
    taken = set(names.values())
    rest = [name for name in tensors if name not in taken]
    homeless = sorted(name for name in rest if prefix and name.startswith(prefix))
    if not prefix:
        homeless = sorted(rest)
    if homeless:
        raise WeightsError(
            f"{homeless[0]} {tensors[homeless[0]].shape} has no place in a Step1"
            f" ({len(homeless)} such tensors); this version cannot use the folder"
        )
    aside: Counter[str] = Counter()
    for name in rest:
        aside[_beginning(name)] += tensors[name].parameters
    return Placement(names, aside, sum(tensors[name].parameters for name in taken))


def _prefix(tensors: Mapping[str, TensorFacts], shape: tuple[int, ...]) -> str:
    """Return what stands before `layers.0...` of the one stack whose shape fits."""
    ends = [name for name in tensors if name == _ANCHOR or name.endswith("." + _ANCHOR)]
    fitting = [name for name in ends if tensors[name].shape == shape]
    if len(fitting) != 1:
        seen = ", ".join(f"{name} {tensors[name].shape}" for name in ends) or "none"
        how = "several stacks" if fitting else "no stack"
        raise WeightsError(f"{how} of layers with {_ANCHOR} of shape {shape}; seen: {seen}")
    return fitting[0].removesuffix(_ANCHOR)


def _head(tensors: Mapping[str, TensorFacts], shape: tuple[int, ...]) -> str:
    ends = [name for name in tensors if name == _HEAD or name.endswith("." + _HEAD)]
    if len(ends) != 1:
        raise WeightsError(f"{len(ends)} tensors end in {_HEAD}, expected one of shape {shape}")
    return ends[0]


def _beginning(name: str) -> str:
    """Return a name up to its first number: `vision_model.layers`."""
    parts = name.split(".")
    stop = next((at for at, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[: min(max(stop, 1), 2)])
