"""What a folder is, what it lacks and what would run with it; reads headers only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from step_audio.core.errors import WeightsError
from step_audio.core.json_files import read_object
from step_audio.core.vocab import AUDIO_SIZE, Vocab
from step_audio.published.headers import read_headers
from step_audio.published.mapping import MODEL_TYPES, Placement, map_step1, sizes_of

_TEXT_TOKENIZERS: Final = ("tokenizer.model", "tokenizer.json")
_EAR: Final = ("linguistic_tokenizer.npy", "speech_tokenizer_v1.onnx")
_VOICE: Final = ("flow.pt", "hift.pt")
_INNER: Final = (
    *("lm", "language_model", "speech_lm", "tokenizer", "vocoder", "vocoder_music"),
    *("CosyVoice-300M-25Hz", "CosyVoice-300M-25Hz-Music"),
)
"""Folders inside a folder: of this project's layout, and of the published one."""


@dataclass(slots=True)
class FolderReport:
    """Lines for people; `usable` is False when something that is needed is missing."""

    is_a: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        return bool(self.is_a) and not self.missing

    def text(self) -> str:
        """Return the report as a page."""
        parts = (
            ("is", self.is_a or ["nothing that this project knows"]),
            ("missing", self.missing),
            ("left aside", self.aside),
            ("would run", self.runs if not self.missing else []),
        )
        return "\n".join(f"{name:>10}  {line}" for name, lines in parts for line in lines)

    def as_json(self) -> str:
        """Return the report as one JSON object."""
        return json.dumps(
            {
                "is": self.is_a,
                "missing": self.missing,
                "aside": self.aside,
                "runs": self.runs,
                "usable": self.usable,
            }
        )


def inspect(folder: Path) -> FolderReport:
    """Look at a folder as downloaded, or as this project lays it out.

    Raises:
        WeightsError: no folder, or a file in it that is damaged or cannot be placed.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder} is no folder")
    report = FolderReport()
    if (folder / "manifest.json").is_file():
        _whole(folder, report)
    if (folder / "config.json").is_file():
        _language_model(folder, report)
    if any((folder / name).exists() for name in _EAR):
        _ear(folder, report)
    if any((folder / name).exists() for name in _VOICE):
        _voice(folder, report)
    for name in _INNER:
        if (folder / name).is_dir():
            inner = inspect(folder / name)
            report.is_a += [f"{name}/: {line}" for line in inner.is_a]
            report.missing += [f"{name}/: {line}" for line in inner.missing]
            report.aside += [f"{name}/: {line}" for line in inner.aside]
    return report


def language_model(folder: Path) -> Placement:
    """Return where the tensors of the Step1 in a folder are. Raises WeightsError."""
    config = read_object(folder / "config.json", WeightsError)
    if config.get("model_type") not in MODEL_TYPES:
        raise WeightsError(
            f"config.json: model_type is {config.get('model_type')!r},"
            f" expected one of {', '.join(MODEL_TYPES)}"
        )
    tensors, missing = read_headers(folder)
    if missing:
        raise WeightsError(f"{len(missing)} shards are missing, first {missing[0]}")
    scales = {name for name in tensors if name.endswith(".scale")}
    return map_step1({n: t for n, t in tensors.items() if n not in scales}, sizes_of(config))


def _language_model(folder: Path, report: FolderReport) -> None:
    config = read_object(folder / "config.json", WeightsError)
    tensors, missing = read_headers(folder)
    total = sum(t.parameters for n, t in tensors.items() if not n.endswith(".scale"))
    kind = config.get("model_type")
    named = f"of type {kind}" if kind else "whose type its config.json does not name"
    counted = f"{_count(total)} parameters found" if total else "no parameters: a config alone"
    report.is_a.append(f"language model {named}, {counted}")
    if not any((folder / name).is_file() for name in _TEXT_TOKENIZERS):
        report.missing.append(f"text tokenizer: {' or '.join(_TEXT_TOKENIZERS)}")
    if missing or not tensors:
        count = len(missing)
        report.missing.append(f"{count} shards, first {missing[0]}" if count else "*.safetensors")
        return
    found = language_model(folder)
    sizes = sizes_of(config)
    report.is_a.append(
        f"Step1 of {_count(found.parameters)} parameters: width {sizes.hidden},"
        f" {sizes.layers} layers, {sizes.heads} heads in {sizes.groups} groups"
    )
    for name, parameters in sorted(found.aside.items()):
        report.aside.append(f"{name}: {_count(parameters)} parameters")
    if all(name == there for name, there in found.names.items()) and not found.aside:
        engine = "local" if found.parameters < 1e9 else "vllm"
        report.runs.append(f"engine.kind {engine}, from this folder as it is")
    else:
        report.runs.append("engine.kind vllm, after: step-audio weights extract FOLDER OUTPUT")
    if sizes.vocab < Vocab().audio_base + AUDIO_SIZE:
        report.runs.append("only with its own facts.json: the vocabulary is not the published one")


def _ear(folder: Path, report: FolderReport) -> None:
    report.is_a.append("audio tokenizer")
    report.missing += [name for name in _EAR if not (folder / name).is_file()]
    # Published two folders deep: the maker's name, then the recogniser's.
    published = [*folder.glob("*/model.pt"), *folder.glob("*/*/model.pt")]
    if not published and not (folder / "linguistic.safetensors").is_file():
        report.missing.append("the linguistic encoder: */model.pt or linguistic.safetensors")
    how = "as it is" if published else "converted"
    report.runs.append(f"as tokenizer/ of a weights folder, {how}")


def _voice(folder: Path, report: FolderReport) -> None:
    report.is_a.append("vocoder: flow and waveform models")
    report.missing += [name for name in _VOICE if not (folder / name).is_file()]
    facts = folder / "cosyvoice.yaml"
    if not facts.is_file():
        report.missing.append(facts.name)
        return
    from vocoder.flow_config import from_published  # noqa: PLC0415 - brings torch

    try:
        from_published(facts.read_text(encoding="utf-8"))
    except (WeightsError, OSError, UnicodeDecodeError) as error:
        report.missing.append(f"a vocoder that this version can load: {error}")
        return
    report.runs.append("as vocoder/ of a weights folder")


def _whole(folder: Path, report: FolderReport) -> None:
    listed = read_object(folder / "manifest.json", WeightsError).get("files")
    names = sorted(listed) if isinstance(listed, dict) else []
    report.is_a.append(f"weights folder of this project, {len(names)} files listed")
    report.missing += [name for name in names if not (folder / name).is_file()]
    report.runs.append("any profile whose `weights` is this folder")


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f}e9" if parameters >= 1e9 else f"{parameters / 1e6:.2f}e6"
