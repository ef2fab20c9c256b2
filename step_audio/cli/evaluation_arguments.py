"""The arguments of `eval`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from step_audio.cli.evaluation import compare, evaluate, evaluate_all
from step_audio.cli.evaluation_turns import turns

Add = Callable[[str, Callable[..., int], str], argparse.ArgumentParser]

SETS = (
    "stepeval-360",
    "stepeval-paralinguistic",
    "stepeval-toolcall",
    "llama-questions",
    "web-questions",
    "trivia-qa",
    "reasoning-qa",
    "alpaca-eval",
    "voicebench",
    "uro-bench",
    "big-bench-audio",
    "librispeech",
    "aishell-1",
    "aishell-2",
    "wenetspeech",
    "seed-tts",
)
"""Those of `eval.sets.catalogue`, named here so that no other command loads it."""


def add_evaluation(add: Add) -> None:
    """Add a command for each set, and those for all of them and for tables of runs."""
    for name in SETS:
        command = add(name, evaluate, f"Ask the set {name} and score the answers.")
        command.set_defaults(set=name)
        command.add_argument("folder", type=Path, help="the set as downloaded")
        _run(command, "folder of the run; given again, the run goes on")
    command = add("turns", turns, "Hold scripted dialogues in real time: delays and interruptions.")
    command.add_argument("folder", type=Path, help="folder with turns.jsonl and its sounds")
    add_examinee(command)
    command.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    command.add_argument("--make", action="store_true", help="write the folder, by natural voices")
    command.add_argument("--limit", type=int, help="only so many dialogues")
    command.add_argument("--patience-s", type=float, default=30.0, help="for one answer (30)")
    command = add("all", evaluate_all, "Ask every set that lies in a folder.")
    command.add_argument("folder", type=Path, help="a folder of sets as downloaded, one each")
    _run(command, "folder of the runs")
    command = add("compare", compare, "Print the table of several runs with the papers' figures.")
    command.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    command.add_argument("-o", "--output", type=Path, help="folder of compare.html, .md and .json")


def _run(command: argparse.ArgumentParser, output: str) -> None:
    add_examinee(command)
    command.add_argument("-o", "--output", type=Path, required=True, help=output)
    command.add_argument("--parts", nargs="+", help="only these categories of the set")
    command.add_argument("--limit", type=int, help="only so many items")
    command.add_argument(
        "--retry-failed", action="store_true", help="ask again what the examinee failed at"
    )
    group = command.add_argument_group("judging")
    group.add_argument(
        "--recognizer",
        default="whisper",
        help="who hears the answers: none, whisper, whisper:MODEL, paraformer, http://HOST/v1#MODEL",
    )
    group.add_argument("--judge-url", help="OpenAI-compatible server, up to /v1")
    group.add_argument("--judge-model", help="its name there")
    group.add_argument("--judge-key-file", type=Path, help="file with the judge's key")
    group.add_argument("--judge-prompts", type=Path, help="folder of prompts instead of ours")
    group.add_argument("--judge-places", type=int, default=4, help="questions at a time (4)")
    group.add_argument("--send-audio", action="store_true", help="the judge takes input_audio")
    group.add_argument("--speaker-encoder", type=Path, help="ONNX graph for speaker similarity")
    group.add_argument("--mos", action="store_true", help="rate the sounds by DNSMOS too")


def add_examinee(command: argparse.ArgumentParser) -> None:
    """Add the arguments that say who is asked."""
    who = command.add_argument_group("who is asked").add_mutually_exclusive_group()
    who.add_argument("--profile", default="nano", help="a shipped one or a .yaml file (nano)")
    who.add_argument("--url", help="a Realtime server: ws://HOST/v1/realtime")
    who.add_argument("--rest", help="an OpenAI-compatible server, up to /v1")
    command.add_argument("--name", default="", help="its name in tables")
    command.add_argument("--model", default="", help="of --rest: its chat model (the first)")
    command.add_argument("--voice", default="alloy", help="of --rest: its voice (alloy)")
    command.add_argument("--key-file", type=Path, help="file with its bearer key")
    command.add_argument("--places", type=int, help="questions side by side (the profile's, or 2)")
