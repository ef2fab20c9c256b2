"""The arguments of `data`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from step_audio.cli import data, data_loop


def positive(text: str) -> int:
    """Return a whole number from 1. Raises ArgumentTypeError."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


Add = Callable[[str, Callable[..., int], str], argparse.ArgumentParser]


def add_data(add: Callable[[str, str], Add]) -> None:
    """Add the command and its steps; `add` opens a group of commands."""
    step = add("data", "Make training data: texts, speech, filters, token shards.")
    _write(step("write", data.write, "Write questions and answers, and the lines they need said."))
    _speak(step("speak", data.speak, "Let a text-to-speech say the lines."))
    _segment(step("segment", data.segment, "Add recordings, cut where somebody pauses."))
    _import(step("import", data.import_set, "Add recordings with their words, or conversations."))
    command = step("export", data.export_set, "Write a pack or a set's sounds for other tools.")
    command.add_argument("folder", type=Path, help="a data set, or a pack")
    command.add_argument("-o", "--output", type=Path, required=True, help=".parquet or .jsonl")
    _filter(step("filter", data.filter_set, "Measure every sound; reject, with reasons."))
    _pack(step("pack", data.pack, "Turn samples and accepted sounds into token shards."))
    _folder(step("report", data.report, "Write figures and plots of a data set."))
    _loop(step("loop", data_loop.loop, "Speak, gate, train, and speak again with the new model."))


def _write(command: argparse.ArgumentParser) -> None:
    _folder(command)
    command.add_argument("--count", type=positive, default=1000, help="questions")
    command.add_argument("--seed", type=int, default=0)
    tasks = "TQTA,AQTA,TQAA,AQAA,ASR,TTS"
    command.add_argument("--tasks", default=tasks, help=f"samples of each question ({tasks})")
    command.add_argument("--layout", choices=("nano", "published"), default="nano")
    command.add_argument("--styles", action="store_true", help="draw speeds and emotions as tags")
    command.add_argument(
        "--half", choices=("train", "held"), default="train", help="of the grammar (train)"
    )
    command.add_argument("--url", help="an OpenAI-compatible chat endpoint, instead of the grammar")
    command.add_argument("--model", help="its model")
    command.add_argument("--topics", type=Path, help="file with a topic a line")
    command.add_argument("--prompt", type=Path, help="file with {topic}, {language}, {number}")
    command.add_argument("--language", default="en")
    command.add_argument("--workers", type=positive, default=8, help="requests at a time")
    _key(command)


def _speak(command: argparse.ArgumentParser) -> None:
    _folder(command)
    command.add_argument(
        "--by",
        choices=("machine", "profile", "clone", "endpoint"),
        default="machine",
        help="Debian's engines; a profile; the same, going on in an example's voice; a server",
    )
    command.add_argument("--voices", default="", help="of the assistant, with commas")
    command.add_argument("--user-voices", default="", help="of the users")
    command.add_argument("--profile", default="nano")
    command.add_argument("--url", help="of an OpenAI-compatible server, up to /v1")
    command.add_argument("--model", help="its model")
    command.add_argument("--tagged", action="store_true", help="it understands style tags")
    command.add_argument("--workers", type=positive, default=2, help="lines at a time")
    command.add_argument("--again", action="store_true", help="try failed lines again")
    _ray(command)
    _key(command)


def _segment(command: argparse.ArgumentParser) -> None:
    _folder(command)
    command.add_argument("recordings", type=Path, nargs="+", help="sound files or folders of them")
    command.add_argument("--speaker", required=True, help="name for the voice")
    command.add_argument("--licence", required=True, help="of the recordings; kept with each cut")
    command.add_argument("--language", default="en")
    command.add_argument("--transcribe", action="store_true", help="write down what is said")
    command.add_argument("--workers", type=positive, default=1, help="processes")


def _import(command: argparse.ArgumentParser) -> None:
    _folder(command)
    command.add_argument(
        "source",
        type=Path,
        nargs="?",
        help="folder of sounds and .txt, .jsonl, .parquet, or a folder of save_to_disk",
    )
    command.add_argument("--hub", default="", help="name of a data set of the hub instead")
    command.add_argument("--split", default="train", help="of it")
    command.add_argument("--licence", default="", help="for rows that name none; needed")
    command.add_argument("--speaker", default="me", help="for rows that name none")
    command.add_argument("--language", default="en", help="for rows that name none")
    command.add_argument("--tasks", default="ASR,TTS", help="samples of sounds with words")
    command.add_argument("--layout", choices=("nano", "published"), default="nano")


def _filter(command: argparse.ArgumentParser) -> None:
    _folder(command)
    _quality(command)
    command.add_argument("--recogniser", choices=("domain", "open", "none"), default="open")
    command.add_argument("--speaker-model", type=Path, help="campplus.onnx (the profile's)")
    command.add_argument("--no-dnsmos", dest="dnsmos", action="store_false")
    command.add_argument("--profile", default="nano")
    command.add_argument("--workers", type=positive, default=1, help="processes")
    _ray(command)


def _pack(command: argparse.ArgumentParser) -> None:
    _folder(command)
    _quality(command)
    command.add_argument("-o", "--output", type=Path, required=True, help="folder of the shards")
    command.add_argument("--profile", default="nano", help="gives both tokenizers")
    command.add_argument("--tasks", default="", help="only these")
    command.add_argument("--interleave", default="10:15", help="text ids to audio ids (10:15)")
    command.add_argument("--begin", action="store_true", help="begin all with bos, not TTS alone")
    command.add_argument("--seed", type=int, default=0, help="of the order")
    _ray(command)


def _loop(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="of the rounds")
    command.add_argument("--profile", default="nano", help="the model of the first round")
    command.add_argument("--rounds", type=positive, default=2)
    command.add_argument("--count", type=positive, default=500, help="new questions a round")
    command.add_argument(
        "--held", type=positive, default=50, help="held-out texts, read each round"
    )
    command.add_argument("--tasks", default="TTS", help="samples of each question, with commas")
    command.add_argument("--seed", type=int, default=0, help="of the first round's texts, less 1")
    command.add_argument("--quality", choices=("all", "high"), default="all")
    for step in ("write", "speak", "filter", "train"):
        name = "train sft" if step == "train" else f"data {step}"
        command.add_argument(
            f"--{step}", default="", metavar="'FLAGS'", help=f"more flags of {name}, in quotes"
        )


def _ray(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="on the nodes of this Ray cluster, which share the folder (docs/scaling.md)",
    )


def _quality(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quality", choices=("all", "high"), default="all")
    command.add_argument(
        "--bound", action="append", default=[], help="such as error_rate<=0.1; may be repeated"
    )


def _folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="the data set")


def _key(command: argparse.ArgumentParser) -> None:
    command.add_argument("--key-file", type=Path, help="file with the server's key")
