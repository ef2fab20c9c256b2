"""The arguments of every command. Flags are named like the profile's keys."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, get_args

from step_audio import __version__
from step_audio.cli.data_arguments import add_data
from step_audio.cli.deployment import check, convert_tokenizer, key, record_folder, serve
from step_audio.cli.doctor import doctor
from step_audio.cli.engines import engine, export
from step_audio.cli.evaluation_arguments import add_evaluation
from step_audio.cli.examination import examine
from step_audio.cli.load import load
from step_audio.cli.planning import plan_profile
from step_audio.cli.published import add_recordings, add_weights_commands, fetch_command
from step_audio.cli.reading import say
from step_audio.cli.replay import replay
from step_audio.cli.roles import list_roles, show_role
from step_audio.cli.speech import ask
from step_audio.cli.tokens import tokenize, vocode
from step_audio.cli.training_arguments import add_training
from step_audio.cli.voices import add_voice, list_voices, remove_voice, show_voice
from step_audio.core.types import AddressReading, UnreadableReading


def parser() -> argparse.ArgumentParser:
    """Return the parser; `run` of what it parses is the command's function."""
    top = argparse.ArgumentParser(
        prog="step-audio", description="A speech assistant: speech in, speech out."
    )
    top.add_argument("--version", action="version", version=f"step-audio {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[..., int], about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        return command

    _deployment(add)
    _speech(add)
    _tokens(add)
    _voices(commands)
    _roles(commands)
    add_weights_commands(commands)
    _examination(add)

    def group(name: str, about: str) -> Add:
        inner = commands.add_parser(name, help=about, description=about).add_subparsers(
            required=True, metavar="STEP"
        )

        def add_step(name: str, run: Callable[..., int], about: str) -> argparse.ArgumentParser:
            step = inner.add_parser(name, help=about, description=about)
            step.set_defaults(run=run)
            return step

        return add_step

    add_evaluation(group("eval", "Public evaluation sets, and tables of runs."))
    add_data(group)
    add_training(group)
    return top


Add = Callable[[str, Callable[..., int], str], argparse.ArgumentParser]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _deployment(add: Add) -> None:
    command = add("serve", serve, "Talk through the browser and the Realtime API.")
    _profile(command)
    command.add_argument("--host", help="address to listen at (the profile's server.host)")
    command.add_argument("--port", type=int, help="port to listen at (server.port); 0 picks one")
    command.add_argument(
        "--tls", action="store_true", help="https with a self-signed certificate of our own"
    )
    command = add("check", check, "Print a profile resolved and verify its weights.")
    _profile(command)
    command = add("doctor", doctor, "Find what keeps this machine from serving a profile.")
    _profile(command)
    command.add_argument(
        "--spoken", action="store_true", help="say and hear a sentence (always with vLLM engines)"
    )
    command.add_argument(
        "--prompts", action="store_true", help="measure the form of prompts and write it down"
    )
    command = add("plan", plan_profile, "Will the language models keep up on given cards?")
    command.add_argument("--profile", help="a shipped one or a .yaml file; must be given")
    command.add_argument("--gpu", default="h100", help="h100, h200, a100, a800, l40s, ... (h100)")
    command.add_argument("--count", type=int, default=1, help="cards of tensor parallelism (1)")
    kinds = ("bf16", "fp8", "int4", "int8")
    command.add_argument("--quantization", default="bf16", choices=kinds, help="of weights (bf16)")
    command.add_argument(
        "--chat",
        help="chat model on the same card: its name, its folder, or `elsewhere` (chat.model)",
    )
    command.add_argument(
        "--chat-quantization", choices=kinds, help="of its weights (what its name says)"
    )
    command.add_argument("--sessions", type=int, help="speaking at once (limits.max_sessions)")
    command.add_argument("--context", type=int, default=4096, help="ids a session holds (4096)")
    command.add_argument("--json", action="store_true", help="print one JSON object instead")
    command.add_argument("--train", action="store_true", help="on how many cards training fits")
    command.add_argument("--speech", action="store_true", help="train: the speech_engine's model")
    command.add_argument("--lora", type=int, metavar="RANK", help="train: adapters only")
    command.add_argument("--recompute", action="store_true", help="train: gradient checkpointing")
    command.add_argument("--rows", type=int, default=2, help="train: of a micro-batch (2)")
    command.add_argument("--length", type=int, default=4096, help="train: ids of a row (4096)")
    command.add_argument("--ids", type=float, default=1e8, help="train: ids of all epochs (1e8)")
    _engines(add)
    command = add("key", key, "Make a bearer key and the hash that a profile keeps of it.")
    command.add_argument("name", nargs="?", default="me", help="whose key it is (me)")
    command = add("record", record_folder, "Write the manifest of a weights folder as it is now.")
    command.add_argument("folder", type=Path)
    command = add(
        "convert", convert_tokenizer, "Write the published audio tokenizer as safetensors."
    )
    command.add_argument("published", type=Path, help="folder as downloaded, with model.pt inside")
    command.add_argument("output", type=Path, help="folder to write; made where missing")


def _engines(add: Add) -> None:
    command = add("engine", engine, "Start the vLLM server of a profile and print its command.")
    _profile(command)
    command.add_argument("--speech", action="store_true", help="that of the speech_engine")
    command.add_argument("--weights", type=Path, help="folder of the LM (engine.folder of weights)")
    command.add_argument("--tp", type=int, default=1, help="cards that share each layer (1)")
    command.add_argument("--pp", type=int, default=1, help="nodes that share the layers (1)")
    command.add_argument("--ray", action="store_true", help="several nodes, joined by `ray start`")
    command.add_argument("--quantization", help="of weights while they load: fp8")
    command.add_argument("--context", type=int, help="most ids of prompt and answer (the model's)")
    command.add_argument(
        "--memory", type=float, help="share of each card's memory that it may fill (vLLM's, 0.9)"
    )
    command.add_argument("--host", help="address to listen at (127.0.0.1)")
    command.add_argument("--port", type=int, help="port to listen at (that of engine.url)")
    command.add_argument("--vllm", default="vllm", help="the program (vllm)")
    command.add_argument("--cpu", action="store_true", help="on the CPU, slowly: for tests")
    command.add_argument("--dry-run", action="store_true", help="only print the command")
    command = add("export", export, "Write a profile's LM with whole weights, for vLLM.")
    command.add_argument("output", type=Path, help="folder to write; made where missing")
    _profile(command)
    command.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))


def _speech(add: Add) -> None:
    command = add("ask", ask, "Ask a spoken question and keep the spoken answer.")
    command.add_argument("question", type=Path, help="sound file: wav, flac, ogg or mp3")
    _output(command, required=True, what="sound file of the answer, as for say")
    _profile(command)
    _voice(command)
    command.add_argument("--role", help="name of a role card (roles list), or who it is in words")
    command.add_argument("--seed", type=int, help="sampling.seed: the same seed, the same answer")
    command.add_argument("--json", action="store_true", help="print one JSON object about it")
    command = add("say", say, "Read a text, a book or a folder of lines aloud.")
    command.add_argument("text", nargs="?", help="what to read; style tags such as (slow) included")
    command.add_argument("--file", type=Path, help="text file, or folder of .txt files")
    _output(
        command,
        required=False,
        what="wav, mp3, flac, ogg, opus, m4a, aac, webm or pcm file; or folder of wavs",
    )
    _profile(command)
    _voice(command)
    command.add_argument("--speed", type=float, default=1.0, help="0.25 to 4 (1)")
    command.add_argument("--instructions", default="", help="how to read it, such as: slowly")
    command.add_argument("--seed", type=int, help="sampling.seed: the same seed, the same sound")
    command.add_argument(
        "--show-reading",
        action="store_true",
        help="print what would be read, a sentence a line; write nothing",
    )
    for name, about in (
        ("style-tags", "whether (happy) and the like ask for a style (text_options.style_tags)"),
        ("markdown", "whether marks of Markdown and HTML are taken out (text_options.markdown)"),
        ("numbers", "whether figures, dates and units become words (text_options.numbers)"),
    ):
        command.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=about)
    command.add_argument(
        "--addresses",
        choices=get_args(AddressReading),
        help="of the web and of mail: in full, their host alone, or left out",
    )
    command.add_argument(
        "--unreadable",
        choices=get_args(UnreadableReading),
        help="what a sentence does whose letters the model was not taught: refuse the text, or be "
        "left out, as standard error then says",
    )


def _tokens(add: Add) -> None:
    command = add("tokenize", tokenize, "Turn speech into token groups.")
    command.add_argument("speech", type=Path, help="sound file: wav, flac, ogg or mp3")
    _output(command, required=False, what="JSON file (standard output)")
    _profile(command)
    command = add("vocode", vocode, "Turn token groups into speech.")
    command.add_argument("groups", type=Path, help="JSON file as `tokenize` writes it")
    _output(command, required=True, what="sound file, as for say")
    _profile(command)
    _voice(command)
    command.add_argument("--seed", type=int, default=0, help="of the vocoder's noise")


def _voices(commands: Commands) -> None:
    about = "List, add, remove or show voices."
    actions = commands.add_parser("voices", help=about, description=about).add_subparsers(
        required=True, metavar="ACTION"
    )

    def add(name: str, run: Callable[..., int], about: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        _profile(command)
        return command

    add("list", list_voices, "Print the voices of a profile.")
    command = add("add", add_voice, "Make a voice of 3 to 30 s of one person.")
    command.add_argument("name")
    command.add_argument("recording", type=Path, help="sound file: wav, flac, ogg or mp3")
    command.add_argument("--text", help="what is said in it; left out: the model listens")
    command.add_argument(
        "--consent", required=True, help="who agreed to the use of the voice, e.g. 'my own voice'"
    )
    command.add_argument(
        "--no-comparison", action="store_true", help="do not say a sentence to compare it with"
    )
    about = "Fetch the recordings of a profile's named voices and make the voices."
    add_recordings(add("fetch", fetch_command, about))
    for name, run, about in (
        ("remove", remove_voice, "Erase a voice that was added."),
        ("show", show_voice, "Print what is known of a voice as JSON."),
    ):
        add(name, run, about).add_argument("name")


def _roles(commands: Commands) -> None:
    about = "List or show role cards: characters that the assistant can play."
    actions = commands.add_parser("roles", help=about, description=about).add_subparsers(
        required=True, metavar="ACTION"
    )
    for name, run, about in (
        ("list", list_roles, "Print the role cards of a profile."),
        ("show", show_role, "Print a role card as JSON."),
    ):
        command = actions.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        _profile(command)
        if name == "show":
            command.add_argument("name", help="or its title")


def _examination(add: Add) -> None:
    command = add("replay", replay, "Go through a traced session again and compare its events.")
    command.add_argument("trace", type=Path, help="file as the server wrote it (server.traces)")
    _profile(command)
    command = add("load", load, "Talk to a running server with many callers; print figures.")
    command.add_argument("--url", default="ws://127.0.0.1:8000/v1/realtime", help="of the endpoint")
    command.add_argument("--sessions", type=int, default=1, help="callers at a time")
    command.add_argument("--turns", type=int, default=5, help="questions of each caller")
    command.add_argument(
        "--questions",
        type=Path,
        nargs="+",
        default=[],
        help="sound files or folders of them (the server reads its own)",
    )
    command.add_argument("--push-to-talk", action="store_true", help="callers end their turns")
    command.add_argument(
        "--together", action="store_true", help="all ask the same question in the same instant"
    )
    command.add_argument("--patience-s", type=float, default=30.0, help="for one answer")
    command.add_argument("--key-file", type=Path, help="file with a bearer key in it")
    command = add("examine", examine, "Ask held-out questions and let a recogniser judge.")
    _output(command, required=True, what="folder of the report")
    _profile(command)
    command.add_argument(
        "--questions",
        type=int,
        help="450 for a report, 20 to look (450; with --roles 40, with --manners 60)",
    )
    command.add_argument(
        "--gate",
        choices=["hold", "keep"],
        help="a few fixed questions instead: hold the scores to those kept of the weights that "
        "shipped, or keep them",
    )
    command.add_argument(
        "--roles",
        action="store_true",
        help="ask in the roles that nano knows by heart instead",
    )
    command.add_argument(
        "--manners",
        action="store_true",
        help="ask to speak faster, sadly, in a whisper and normally again instead",
    )
    command.add_argument(
        "--recordings",
        type=Path,
        help="ask these instead: a folder of sound files, each with a .txt of what is said",
    )
    command.add_argument(
        "--typed",
        action="store_true",
        help="typed questions instead: how many outside of nano's world are declined, and within",
    )


def _profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="nano", help="a shipped one or a .yaml file (nano)")


def _voice(command: argparse.ArgumentParser) -> None:
    command.add_argument("--voice", help="name of a voice (the profile's voice)")


def _output(command: argparse.ArgumentParser, *, required: bool, what: str) -> None:
    command.add_argument("-o", "--output", type=Path, required=required, help=what)
