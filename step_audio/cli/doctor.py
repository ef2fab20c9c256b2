"""`doctor`: what keeps this machine from serving a profile, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from step_audio.cli.findings import Finding
from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.errors import EngineError, EngineGone, EngineRefused, StepAudioError
from step_audio.core.profile import (
    ChatSection,
    Profile,
    TranscriptionEndpointSection,
    VllmEngineSection,
    WhisperSection,
)
from step_audio.core.weights import open_weights

LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})
TO_START: Final = (
    "start a server of chat models, such as `ollama serve` after `ollama pull qwen3:8b`, or give"
    " the address of one: make run PROFILE=local-chat CHAT=http://127.0.0.1:11434/v1 MODEL=name"
    " (docs/chat-servers.md)"
)
FREE_BYTES: Final = 1 << 30
MEMORY_BYTES: Final = 2 << 30


def doctor(args: argparse.Namespace, load: Load) -> int:
    """Print what was found; 1 when something is wrong."""
    wrong = 0
    profile = load_profile(args.profile)
    for finding in examine_machine(profile, args.profile):
        print(finding, flush=True)
        wrong += finding.state == "wrong"
    # With engines elsewhere, what no file tells is tried: loading nano would only take time.
    spoken = args.spoken or isinstance(profile.engine, VllmEngineSection)
    if not wrong and (args.prompts or spoken):
        from step_audio.cli.trials import measure_prompts, round_trip  # noqa: PLC0415

        trials = [measure_prompts] if args.prompts else []
        for trial in [*trials, *([round_trip] if spoken else [])]:
            for finding in asyncio.run(trial(load(profile), profile)):
                print(finding, flush=True)
                wrong += finding.state == "wrong"
    print(f"{wrong} to mend" if wrong else "all that serving needs is there")
    return 1 if wrong else 0


def examine_machine(profile: Profile, name: str = "NAME") -> Iterator[Finding]:
    """Yield every finding, cheap ones first; `name` is what commands call the profile."""
    checks: tuple[Callable[[Profile], Iterator[Finding]], ...] = (
        _python,
        _processor,
        _room,
        _torch,
        _weights,
        _address,
        lambda profile: _engines(profile, name),
        _chat,
        _transcriber,
    )
    for check in checks:
        yield from check(profile)


def _python(_: Profile) -> Iterator[Finding]:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] <= (3, 12)
    advice = "" if fits else "3.11 and 3.12 are supported: make PYTHON=python3.12"
    yield Finding("Python", "ok" if fits else "wrong", version, advice)


def _processor(profile: Profile) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    few = profile.engine.kind == "local" and (cores or 1) < 2
    yield Finding(
        "Processor",
        "note" if few else "ok",
        f"{cores} cores, {platform.machine()}",
        "LM and voice share one core: expect gaps in the sound" if few else "",
    )
    flags = _cpu_flags()
    if flags is not None:
        slow = platform.machine() == "x86_64" and "avx2" not in flags
        found = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if name in flags]
        yield Finding(
            "Instructions",
            "note" if slow else "ok",
            ", ".join(found) or "none of AVX2, AVX-512, AMX",
            "without AVX2 nano is slower than real time" if slow else "",
        )


def _cpu_flags() -> set[str] | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    line = next((row for row in text.splitlines() if row.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())


def _room(profile: Profile) -> Iterator[Finding]:
    folder = next(p for p in (profile.voice_folder, *profile.voice_folder.parents) if p.exists())
    writable = os.access(folder, os.W_OK)
    yield Finding(
        "Voices that people add",
        "ok" if writable else "note",
        str(profile.voice_folder),
        "" if writable else f"{folder} is closed to us; set voice_folder to add voices",
    )
    free = shutil.disk_usage(folder).free
    short = free < FREE_BYTES
    advice = "less than 1 GiB: make room" if short else ""
    yield Finding("Disk", "note" if short else "ok", f"{free / 1e9:.1f} GB free", advice)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        short = memory < MEMORY_BYTES
        advice = "nano needs 1.2 GB beside the system" if short else ""
        yield Finding("Memory", "note" if short else "ok", f"{memory / 1e9:.1f} GB", advice)


def _torch(profile: Profile) -> Iterator[Finding]:
    missing = [n for n in ("torch", "onnxruntime", "uvicorn") if not importlib.util.find_spec(n)]
    if missing:
        yield Finding("Packages", "wrong", f"no {', '.join(missing)}", "make run installs them")
        return
    yield Finding("PyTorch", "ok", importlib.metadata.version("torch"))
    devices = {profile.tokenizer.device, profile.vocoder.device} - {"cpu"}
    if not devices:
        return
    import torch  # noqa: PLC0415 - seconds, and only GPUs need the question

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if devices == {"auto"}:
        yield Finding(
            "CUDA",
            "ok" if cards else "note",
            f"{cards} devices",
            "" if cards else "the vocoder runs on the CPU: expect gaps in the sound",
        )
        return
    wanted = max(int(name.partition(":")[2] or 0) for name in devices - {"auto"}) + 1
    yield Finding(
        "CUDA",
        "ok" if cards >= wanted else "wrong",
        f"{cards} devices, {wanted} asked for",
        "" if cards >= wanted else "install the driver, or set vocoder.device to cpu (slow)",
    )


def _weights(profile: Profile) -> Iterator[Finding]:
    try:
        weights = open_weights(profile.weights, profile.origin)
        weights.verify()
    except StepAudioError as error:
        yield Finding("Weights", "wrong", " ".join(str(error).split()))
        return
    size = f"{weights.total_bytes / 1e6:.0f} MB in {profile.weights}"
    yield Finding("Weights", "ok", f"{size}, as in the manifest")


def _address(profile: Profile) -> Iterator[Finding]:
    server = profile.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    where = f"{server.host}:{server.port}"
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            reason = error.strerror or str(error)
            yield Finding("Address", "wrong", f"{where}: {reason}", "choose another --port")
        else:
            yield Finding("Address", "ok", f"{where} is free")
    if server.host in LOCAL:
        yield Finding("Microphone", "ok", f"browsers allow it on http://localhost:{server.port}")
        return
    yield Finding(
        "Microphone",
        "note",
        "browsers bar it on plain http from other machines",
        "serve with --tls, or put a proxy with TLS in front",
    )
    if not server.keys and server.api_key is None:
        yield Finding(
            "Key", "note", "none is asked for", "`step-audio key NAME` makes one for the profile"
        )


def _chat(profile: Profile) -> Iterator[Finding]:
    chat, ear = profile.chat, profile.transcriber
    if chat is not None:
        yield asyncio.run(_chat_server(chat))
        if window := profile.sampling.repetition_window:
            fact = f"repetition_window {window} is not sent: chat servers have no such field"
            yield Finding(
                "Sampling", "note", fact, "of the model that speaks it stands in `reading`"
            )
    if isinstance(ear, WhisperSection) and importlib.util.find_spec("faster_whisper") is None:
        advice = "pip install 'step-audio[whisper]'; in a clone, make run does it"
        yield Finding("Whisper", "wrong", "the extra `whisper` is not installed", advice)


def _transcriber(profile: Profile) -> Iterator[Finding]:
    ear = profile.transcriber
    if not isinstance(ear, TranscriptionEndpointSection):
        return
    try:
        with urllib.request.urlopen(f"{ear.url.rstrip('/')}/models", timeout=3):
            pass
    except urllib.error.HTTPError as error:
        if error.code in (401, 403) and not (ear.api_key or ear.api_key_file):
            advice = "set STEP_AUDIO__TRANSCRIBER__API_KEY"
            yield Finding("Transcriber", "wrong", f"{ear.url} answers {error.code}", advice)
            return
    except (urllib.error.URLError, OSError, ValueError) as error:
        advice = "start it, or set transcriber.url in the profile"
        yield Finding("Transcriber", "wrong", f"{ear.url} does not answer ({error})", advice)
        return
    yield Finding("Transcriber", "ok", f"{ear.url} answers")


def _engines(profile: Profile, profile_name: str) -> Iterator[Finding]:
    sections = (
        ("Engine", profile.engine, ""),
        ("Speech engine", profile.speech_engine, " --speech"),
    )
    for name, engine, option in sections:
        if not isinstance(engine, VllmEngineSection):
            continue
        for url in engine.url:
            health = f"{url.rstrip('/')}/health"
            try:
                with urllib.request.urlopen(health, timeout=3):  # profiles allow http(s) only
                    pass
            except (urllib.error.URLError, OSError, ValueError) as error:
                start = f"step-audio engine --profile {profile_name}{option}"
                advice = f"start it with `{start}`, or set its url in the profile"
                yield Finding(name, "wrong", f"{url} does not answer ({error})", advice)
            else:
                yield Finding(name, "ok", f"{url} answers")


async def _chat_server(chat: ChatSection) -> Finding:
    """Return whether a chat server is there, takes the key and has the model."""
    from step_audio.endpoints.connection import endpoint_of  # noqa: PLC0415 - for few profiles

    server = endpoint_of(chat)
    try:
        served = await server.models(timeout_s=3.0)
    except EngineGone as error:
        fact = f"{server.url} does not answer ({error.why})"
        return Finding("Chat model", "wrong", fact, TO_START)
    except EngineRefused as error:
        advice = "set STEP_AUDIO__CHAT__API_KEY, or chat.api_key_file in the profile"
        return Finding("Chat model", "wrong", f"{server.url} answers {error.status}", advice)
    except EngineError as error:
        return Finding("Chat model", "note", str(error), "it may still be loading")
    finally:
        await server.aclose()
    if not served and not urlsplit(server.url).path:
        fact = f"{server.url} lists no models"
        return Finding("Chat model", "wrong", fact, f"most servers are at {server.url}/v1")
    if chat.model and served and not {chat.model, f"{chat.model}:latest"} & set(served):
        fact = f"{server.url} lists no {chat.model!r}, but {', '.join(sorted(served)[:8])}"
        advice = "fetch it (Ollama: `ollama pull`), or give another MODEL= (chat.model)"
        return Finding("Chat model", "note", fact, advice)
    return Finding("Chat model", "ok", f"{server.url} answers")


def missing_chat(profile: Profile) -> list[Finding]:
    """Return what is wrong with the chat server of a profile: who serves is told at once."""
    return [found for found in _chat(profile) if found.state != "ok"]
