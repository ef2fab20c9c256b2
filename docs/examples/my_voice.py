"""My recordings -> adapters -> a profile that speaks -> how alike, how well understood.

Run: python my_voice.py RECORDINGS OUT [--base nano]; RECORDINGS has a wav and a .txt a sentence.
Every tenth sentence is held out. Each is spoken three times: by the base, by the base in a voice
made of a recording, and by the tuned model in that voice. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import yaml

from step_audio.cli import main as step_audio
from step_audio.core.config import load_profile, raw_profile
from step_audio.core.errors import InputError
from step_audio.core.profile import LocalEngineSection, VllmEngineSection
from step_audio.core.resampling import resample
from step_audio.core.types import Pcm
from step_audio.eval.packaged_encoder import RATE_HZ, PackagedSpeakerEncoder, packaged_weights
from step_audio.eval.recognizers import open_recognizer
from step_audio.eval.speaker_similarity import similarity
from step_audio.eval.wer import word_error_rate

EXAMPLE_S = (3.0, 15.0)
"""A voice is made of a recording of such a length."""


def run(*words: object) -> None:
    """Run a command of step-audio, shown as one would type it. Ends when it fails."""
    print("$ step-audio", *words, flush=True)
    code = step_audio([str(word) for word in words])
    if code:
        raise SystemExit(code)


def split(recordings: Path, out: Path) -> list[Path]:
    """Copy nine sentences of ten to `out`/learn, and return the recordings that are held out.

    Raises:
        InputError: fewer than four sentences with their words.
    """
    found = [path for path in sorted(recordings.glob("*.wav")) if path.with_suffix(".txt").exists()]
    if len(found) < 4:
        raise InputError(f"{recordings} needs at least four wav files with a .txt beside each")
    held = found[:: min(10, len(found) // 2)]
    (out / "learn").mkdir(parents=True, exist_ok=True)
    for path in found:
        if path not in held:
            for file in (path, path.with_suffix(".txt")):
                shutil.copyfile(file, out / "learn" / file.name)
    return held


def base_profile(name: str, out: Path) -> tuple[Path, Path]:
    """Write the base with a folder of voices of its own; return its file and its LM's folder.

    Its LM speaks in this process, as a vLLM server has the weights of before for every profile.

    Raises:
        InputError: it has no language model.
    """
    profile = load_profile(name)
    if not isinstance(profile.engine, LocalEngineSection | VllmEngineSection):
        raise InputError(f"profile {name} has no language model to tune")
    raw = raw_profile(name)
    raw.update(weights=str(profile.weights.absolute()), voice_folder=str(out.absolute() / "voices"))
    if isinstance(profile.engine, VllmEngineSection):
        raw["engine"] = {"kind": "local", "folder": profile.engine.folder}
    (out / "before.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return out / "before.yaml", profile.weights / profile.engine.folder


def example_of(held: Sequence[Path]) -> Path:
    """Return the held-out recording that a voice is made of: the longest that is not too long."""
    lengths = {path: soundfile.info(path).duration for path in held}
    fit = [path for path in held if EXAMPLE_S[0] <= lengths[path] <= EXAMPLE_S[1]]
    if not fit:
        raise InputError(f"no held-out recording lasts {EXAMPLE_S[0]} to {EXAMPLE_S[1]} s")
    return max(fit, key=lambda path: lengths[path])


def sound(path: Path) -> Pcm:
    """Return a file, mono at 16 kHz, (T,)."""
    pcm, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(pcm.mean(axis=1), rate_hz, RATE_HZ)


def measured(said: Path, held: Sequence[Path], texts: Sequence[str], ear: str) -> dict[str, float]:
    """Return the mean similarity of spoken sentences with their recordings, and the word errors."""
    files, hear = sorted(said.glob("*.wav")), open_recognizer(ear)
    weights, found = packaged_weights(), {}
    if weights is not None:
        encoder = PackagedSpeakerEncoder(weights)
        pairs = [
            (encoder.embed(sound(a)), encoder.embed(sound(b)))
            for a, b in zip(files, held, strict=True)
        ]
        found["similarity"] = float(np.mean([similarity(a, b) for a, b in pairs]))
    if hear is not None:
        heard = [hear.hear(sound(path), RATE_HZ, "en") for path in files]
        found["wer"] = word_error_rate(texts, heard)
    return found


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", default="nano", help="profile to tune")
    parser.add_argument("--layout", default="nano", help="of its prompts: nano or published")
    parser.add_argument("--licence", default="mine", help="of the recordings")
    parser.add_argument("--lora", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--ear", default="whisper", help="recogniser: whisper, none, ...")
    args = parser.parse_args()
    out: Path = args.out
    held = split(args.recordings, out)
    texts = [path.with_suffix(".txt").read_text("utf-8").strip() for path in held]
    before, lm = base_profile(args.base, out)

    licence = ("--licence", args.licence, "--layout", args.layout)
    run("data", "import", out / "set", out / "learn", *licence, "--speaker", "me", "--tasks", "TTS")
    run("data", "filter", out / "set", "--recogniser", "none", "--no-dnsmos")
    run("data", "pack", out / "set", "-o", out / "pack", "--profile", before)
    adapters = ("--lora", args.lora, "--learning-rate", args.learning_rate, "--eval-share", 0.1)
    where = ("--from", lm, "--data", out / "pack", "--out", out / "run")
    run("train", "sft", *where, "--steps", args.steps, *adapters)
    run("train", "install", out / "run", "--best", "--profile", out / "tuned", "--base", before)

    example = example_of(held)
    words = example.with_suffix(".txt").read_text("utf-8").strip()
    voice = ("--text", words, "--consent", "my own voice", "--no-comparison")
    run("voices", "add", "me", example, "--profile", before, *voice)
    (out / "texts").mkdir(exist_ok=True)
    (out / "texts" / "held.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    rows = {}
    for name, profile, who in (
        ("before", before, ()),
        ("voice added", before, ("--voice", "me")),
        ("tuned", out / "tuned.yaml", ("--voice", "me")),
    ):
        said = out / "said" / name.replace(" ", "-")
        said.parent.mkdir(exist_ok=True)
        run("say", "--file", out / "texts", "-o", said, "--profile", profile, *who)
        rows[name] = measured(said, held, texts, args.ear)
        shown = "  ".join(f"{figure} {value:.3f}" for figure, value in rows[name].items())
        print(f"{name:<12} {shown}", flush=True)
    print(json.dumps({"sentences": len(held), "steps": args.steps, **rows}))


if __name__ == "__main__":
    main()
