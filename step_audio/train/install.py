"""A run becomes a profile: its weights beside the other parts of a profile that serves.

NAME.yaml       the profile it came from, with other weights
NAME/           tokenizer, vocoder, voices of that profile (hard links), the run's LM, a manifest
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import yaml

from step_audio.core.config import load_profile, raw_profile
from step_audio.core.errors import InputError
from step_audio.core.profile import LocalEngineSection, VllmEngineSection
from step_audio.core.weights import MANIFEST, Weights, open_weights, record
from step_audio.engine.text import hash_of_text_tokenizer
from step_audio.train.checkpoints import ADAPTER_CONFIG, BESIDE, Checkpoint, run_name
from step_audio.train.lora import merge_adapter

EXPORTS: Final = ("export", "best")
_CARD: Final = "MODEL_CARD.md"


def exported(run: Path, *, best: bool = False) -> Path:
    """Return the folder of weights or adapters of a run, or the given one if it is such a folder.

    Args:
        best: that of the lowest evaluation loss instead of the last step's.

    Raises:
        InputError: none is there.
    """
    if (run / "model.safetensors").is_file() or (run / "model.safetensors.index.json").is_file():
        return run
    if (run / ADAPTER_CONFIG).is_file():
        return run
    names = ("best",) if best else EXPORTS
    for name in names:
        if (run / name).is_dir():
            return run / name
    raise InputError(
        f"{run} has no {' or '.join(f'{name}/' for name in names)}; a run writes it in the end,"
        " give the folder of a run, an export, a merge or adapters"
    )


def install(run: Path, profile: Path, base: str, *, best: bool = False) -> Path:
    """Write a profile that serves what a run trained; return its file.

    Args:
        run: see `exported`; adapters are merged into the LM of `base`.
        profile: file to write, `.yaml` or without; the folder of the weights gets its name.
        base: profile whose other parts it shares, named or a file.

    Raises:
        InputError: it exists, `base` has no LM, or the LM is of another vocabulary.
    """
    file = (
        profile
        if profile.suffix in {".yaml", ".yml"}
        else profile.with_name(f"{profile.name}.yaml")
    )
    folder = file.with_suffix("")
    for path in (file, folder):
        if path.exists():
            raise InputError(f"{path} exists already; remove it or give --profile another name")
    shared = load_profile(base)
    if not isinstance(shared.engine, LocalEngineSection | VllmEngineSection):
        raise InputError(f"profile {base} has no language model that a run could replace")
    weights = open_weights(shared.weights, shared.origin)
    lm = shared.engine.folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _fill(part, weights, lm, exported(run, best=best), base)
        record(part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.replace(folder)
    raw = raw_profile(base)
    raw.update(
        model_name=folder.name,
        weights=folder.name,
        origin=f"trained here: step-audio train install {run_name(run)} --base {base}",
    )
    if "voice_folder" in raw:
        raw["voice_folder"] = str(shared.voice_folder)
    file.write_text(
        f"# The profile {base} with the language model of {run_name(run)}.\n"
        + yaml.safe_dump(raw, sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    load_profile(str(file))
    return file


def _fill(folder: Path, weights: Weights, lm: str, trained: Path, base: str) -> None:
    """Put everything into the new folder but its manifest."""
    old = weights.folder / lm
    for name in weights.files:
        if not name.startswith(f"{lm}/") and name not in {_CARD, MANIFEST}:
            _link(weights.folder / name, folder / name)
    if (trained / ADAPTER_CONFIG).is_file():
        merge_adapter(old, trained, folder / lm)
    else:
        source = Checkpoint(trained)
        if source.config.vocab_size < weights.facts.vocab.size:
            raise InputError(
                f"{trained} has {source.config.vocab_size} ids, profile {base} needs"
                f" {weights.facts.vocab.size}; give --base the profile that was trained"
            )
        own = hash_of_text_tokenizer(trained)
        if own and own != hash_of_text_tokenizer(old):
            raise InputError(
                f"{trained} has another text tokenizer than profile {base}; give --base the"
                " profile that was trained"
            )
        for path in sorted(trained.iterdir()):
            if path.suffix in {".safetensors", ".json"} and path.is_file():
                _link(path, folder / lm / path.name)
    # What stands beside the weights and is not trained: tokenizers, nano's pairs of words.
    for path in sorted(old.iterdir()):
        tuned = path.suffix == ".safetensors" or path.name.endswith(".index.json")
        kept = not tuned or path.name in BESIDE
        if kept and path.is_file() and not (folder / lm / path.name).exists():
            _link(path, folder / lm / path.name)
    (folder / _CARD).write_text(
        f"# {folder.name.removesuffix('.part')}\n\nThe language model is {run_name(trained)},"
        f" trained from profile {base}; `{lm}/training.json` says how. All other parts are those of"
        f" {base}, whose licence and card go on to hold for them.\n",
        encoding="utf-8",
    )


def _link(source: Path, target: Path) -> None:
    """Put a file there without taking its space again where the disk can do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
