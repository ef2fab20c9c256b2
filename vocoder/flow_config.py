"""Trained facts of a flow model, read from a published yaml or from our own json.

A published `cosyvoice.yaml` is a hyperpyyaml file: its tags name Python classes to build
(`!new:`), functions to call (`!apply:`) and keys to copy (`!ref <key>`). Here it is data: the
first two are dropped unread and nothing is ever imported or called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

import yaml

from step_audio.core.errors import WeightsError
from step_audio.core.types import MEL_BANDS, SPEAKER_SIZE
from vocoder.encoder import EncoderConfig
from vocoder.estimator import EstimatorConfig
from vocoder.length_regulator import LengthRegulatorConfig

_REFERENCE = re.compile(r"<([A-Za-z_]\w*)>")
_MAX_YAML_BYTES = 1 << 20
_COSYVOICE_2 = ("pre_lookahead_len", "token_mel_ratio")
"""Keys of a flow that streams by itself: another architecture, at another rate."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """Trained facts of the flow model; the first six are named as in the published yaml.

    Attributes:
        input_size: width of the token embedding.
        output_size: mel bands.
        spk_embed_dim: width of the speaker vector.
        vocab_size: rows of the token embedding.
        input_frame_rate: tokens a second, prompt and target.
        encoder, length_regulator, estimator: the parts.
        sigma_min: width that the noise keeps at flow time 1.
        training_cfg_rate: share of training rows that saw no condition.
        inference_cfg_rate: guidance r in (1+r) v_cond - r v_uncond; 0 halves the cost.
        n_steps: Euler steps the weights were judged at.
        mel_mean, mel_std: the flow sees (mel - mean) / std; 0 and 1 in published models.
    """

    input_size: int = 512
    output_size: int = MEL_BANDS
    spk_embed_dim: int = SPEAKER_SIZE
    vocab_size: int = 5121
    input_frame_rate: float = 125 / 3
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    length_regulator: LengthRegulatorConfig = field(default_factory=LengthRegulatorConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    sigma_min: float = 1e-6
    training_cfg_rate: float = 0.2
    inference_cfg_rate: float = 0.7
    n_steps: int = 10
    mel_mean: float = 0.0
    mel_std: float = 1.0


def nano_flow() -> FlowConfig:
    """Return the facts of the embedded model: 5M parameters, no guidance, 5 steps."""
    return FlowConfig(
        input_size=192,
        encoder=EncoderConfig(192, 192, 4, 512, 3),
        estimator=EstimatorConfig(
            channels=(128, 128), attention_head_dim=32, n_blocks=1, num_mid_blocks=4, num_heads=4
        ),
        inference_cfg_rate=0.0,
        n_steps=5,
        mel_mean=-5.5,
        mel_std=2.5,
    )


def from_dict(values: Mapping[str, Any]) -> FlowConfig:
    """Read what `dataclasses.asdict` wrote.

    Raises:
        WeightsError: a key is missing or unknown, or a value is not of its kind.
    """
    return _read(FlowConfig, values, "flow.json", complete=True)


def from_published(text: str) -> FlowConfig:
    """Read the `flow:` section of a published cosyvoice.yaml.

    Raises:
        WeightsError: no yaml, no such section, or a value is missing or not of its kind.
    """
    document = published_sections(text)
    flow = _section(document, "flow")
    if any(mark in flow for mark in _COSYVOICE_2):
        raise WeightsError(
            "cosyvoice.yaml describes a CosyVoice 2 vocoder, as in Step-Audio-EditX; it is not "
            "supported yet: take the CosyVoice-300M-25Hz folder of Step-Audio-TTS-3B"
        )
    decoder = _section(flow, "decoder")
    matching = _section(decoder, "cfm_params")
    matching = matching.get("content", matching)  # omegaconf.DictConfig keeps its values there
    if not isinstance(matching, dict):
        raise WeightsError("cosyvoice.yaml: flow.decoder.cfm_params is not a mapping")
    wanted = {f.name for f in fields(FlowConfig)}
    merged = {k: v for k, v in (matching | flow).items() if k in wanted}
    for part in ("encoder", "length_regulator"):
        merged[part] = _section(flow, part)
    merged["estimator"] = _section(decoder, "estimator")
    return _read(FlowConfig, merged, "cosyvoice.yaml", complete=False)


def published_sections(text: str) -> dict[str, Any]:
    """Return a published cosyvoice.yaml as plain data, references replaced by what they mean.

    Raises:
        WeightsError: no yaml, or no mapping.
    """
    if len(text) > _MAX_YAML_BYTES:
        raise WeightsError(f"cosyvoice.yaml has {len(text)} characters; it should have a few KB")
    try:
        document = yaml.load(text, Loader=_DataLoader)
    except (yaml.YAMLError, RecursionError) as e:
        raise WeightsError(f"cosyvoice.yaml is not yaml: {e}; download it again") from e
    if not isinstance(document, dict):
        raise WeightsError("cosyvoice.yaml is not a mapping; download it again")
    resolved: dict[str, Any] = _resolve(document, document, 0)
    return resolved


class _DataLoader(yaml.SafeLoader):
    """SafeLoader to which every local tag is plain data; a reference stays a marked string."""


@dataclass(frozen=True, slots=True)
class _Reference:
    key: str


def _construct(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> object:
    if suffix.startswith("ref") and isinstance(node, yaml.ScalarNode):
        whole = _REFERENCE.fullmatch(node.value.strip())
        return _Reference(whole[1]) if whole else None  # sums of references are never ours
    if suffix.startswith("new:") and isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return None


_DataLoader.add_multi_constructor("!", _construct)
_DataLoader.add_implicit_resolver(  # yaml 1.2 reads 1e-06 as a number, 1.1 as text
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _resolve(value: object, root: Mapping[str, Any], depth: int) -> Any:
    if depth > 20:
        raise WeightsError("cosyvoice.yaml refers to itself in a circle; download it again")
    if isinstance(value, _Reference):
        return _resolve(root.get(value.key), root, depth + 1)
    if isinstance(value, dict):
        return {k: _resolve(v, root, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, root, depth + 1) for v in value]
    return value


def _section(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    section = values.get(key)
    if not isinstance(section, dict):
        raise WeightsError(f"cosyvoice.yaml has no section {key!r}; is it CosyVoice 1?")
    return section


def _read(kind: type[T], values: Mapping[str, Any], where: str, *, complete: bool) -> T:
    """Build a config dataclass; published files carry more keys than we need, ours exactly ours."""
    known = {f.name: f for f in fields(cast(Any, kind))}
    if complete and set(values) != set(known):
        odd = sorted(set(values) ^ set(known))
        raise WeightsError(f"{where}: {kind.__name__} has missing or unknown keys {odd}")
    read: dict[str, Any] = {}
    defaults = cast(Any, kind())
    for name in known.keys() & values.keys():
        default, value = getattr(defaults, name), values[name]
        if is_dataclass(default) and isinstance(value, Mapping):
            read[name] = _read(type(default), value, where, complete=complete)
        elif isinstance(default, tuple) and _is_sizes(value):
            read[name] = tuple(value)
        elif _is_number(default, value):
            read[name] = type(default)(value)
        else:
            raise WeightsError(f"{where}: {kind.__name__}.{name} is {value!r}")
    return kind(**read)


def _is_sizes(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and 0 < len(value) <= 16
        and all(type(v) is int and 0 < v <= 1 << 16 for v in value)
    )


def _is_number(default: object, value: object) -> bool:
    if isinstance(value, bool) or isinstance(default, tuple):
        return False
    if isinstance(default, int):
        return isinstance(value, int) and 0 <= value <= 1 << 24
    return isinstance(value, int | float) and abs(value) < 1e6
