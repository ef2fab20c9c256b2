"""A fault in the product for each target of CI, and what CI prints of it.

    python -m tests.ci.planted                 # all targets, one after the other: about an hour
    python -m tests.ci.planted docs test-ray   # these

Each target is run by `.ci/run` in a copy of this checkout in which one thing is broken; the copy
uses this checkout's environments. The first failing test ends a target. Prints a table in Markdown;
ends with 1 where a fault left CI green. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.ci.targets import ALWAYS, SLOTS

ROOT: Final = Path(__file__).parents[2]
LIMIT_S: Final = 1800
OLD_S: Final = 1_500_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is broken.

    Attributes:
        about: what, in words.
        path: of the file, in the checkout.
        old: what stands there once; "": the new text is put behind the end.
        new: what is put in its place.
    """

    about: str
    path: str
    old: str
    new: str

    def plant(self, checkout: Path) -> None:
        """Break it. Raises ValueError: the file is not as it was when this was written."""
        file = checkout / self.path
        text = file.read_text(encoding="utf-8")
        if self.old and text.count(self.old) != 1:
            raise ValueError(f"{self.path} holds {self.old!r} {text.count(self.old)} times")
        changed = text.replace(self.old, self.new) if self.old else text + self.new
        file.write_text(changed, encoding="utf-8")


FAULTS: Final = {
    "test": Fault(
        "sound leaves ten times too quiet", "step_audio/core/audio.py", "pcm * 32768", "pcm * 3276"
    ),
    "test-web": Fault(
        "a type error in a script of the page",
        "web/resample.js",
        "",
        '\n/** @type {number} */\nexport const planted = "text";\n',
    ),
    "test-vllm": Fault(
        "vLLM's bias of distance has the wrong sign",
        "step_audio/vllm_plugin/attention.py",
        "bias = -self.alibi_slopes",
        "bias = self.alibi_slopes",
    ),
    "test-any-chat": Fault(
        "chat servers are asked at another path",
        "step_audio/endpoints/chat.py",
        '.post("/chat/completions"',
        '.post("/chat/completion"',
    ),
    "test-published": Fault(
        "a profile names a voice that is not published",
        "step_audio/profiles/tts-3b.yaml",
        "voice: Tingting\n",
        "voice: Nobody\n",
    ),
    "test-package": Fault(
        "the wheel has its page elsewhere", "setup.py", '"server", "page")', '"server", "pages")'
    ),
    "test-api": Fault(
        "a route breaks",
        "server/routes/roles.py",
        'return {"object": "list", "data"',
        'return {"object": 1 // 0, "data"',
    ),
    "test-clients": Fault(
        "the first event has another name",
        "server/realtime/session/dispatch.py",
        '{"type": "session.created"',
        '{"type": "session.made"',
    ),
    "soak": Fault(
        "each session leaves 4 MB behind",
        "server/realtime/session/dispatch.py",
        "        self.commands = 0\n",
        "        self.commands = 0\n"
        "        kept = getattr(SendQueue, 'kept', ())\n"
        "        SendQueue.kept = (*kept, bytearray(b'1' * 4_000_000))\n",
    ),
    "test-gateways": Fault(
        "the proxy has no resolver",
        "docker/proxy/gateway.conf",
        "    resolver 127.0.0.11 valid=10s;\n",
        "",
    ),
    "test-train": Fault(
        "batches of an epoch are drawn from another seed each time",
        "step_audio/train/batches.py",
        "default_rng((self._seed, epoch))",
        "default_rng()",
    ),
    "docs": Fault("a link leads nowhere", "docs/index.md", "", "\n[gone](gone.md)\n"),
    "test-ray": Fault(
        "a task of a lost worker is not done again",
        "step_audio/data/cluster.py",
        "max_retries=RETRIES",
        "max_retries=0",
    ),
    "nano-gate": Fault(
        "nano draws its ids at a temperature of 1.5",
        "step_audio/profiles/nano.yaml",
        "temperature: 0.0",
        "temperature: 1.5",
    ),
    "test-fuzz": Fault(
        "an event whose id is no text breaks the session",
        "server/realtime/session/dispatch.py",
        "            event_id = given if isinstance(given, str) else None\n",
        "            event_id = given.strip()\n",
    ),
    "test-sound-fuzz": Fault(
        "a file that cannot be read is told as a fault of the server",
        "server/http/uploads.py",
        "413 if too_long else 400",
        "413 if too_long else 500",
    ),
}
"""By target. `test-gpu` has none: it is left out, and said to be, where there is no GPU."""

ENVIRONMENTS: Final = ("web", "vllm", "clients", "test-api", "voices", "docs", "package", "wyoming")


def copy_of_checkout(folder: Path) -> None:
    """Make a checkout of the newest commit with the environments of this one."""
    git = ("git", "-c", "safe.directory=*")
    subprocess.run((*git, "clone", "-q", str(ROOT), str(folder)), check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "build").mkdir()
    for name in ENVIRONMENTS:
        if (ROOT / "build" / name).exists():
            (folder / "build" / name).symlink_to(ROOT / "build" / name)
    with (folder / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.write(".venv\nbuild\n")


def made_old(checkout: Path) -> None:
    """Give all files an old date: make must not think that locks changed and install anew, which
    would point the environments at the copy."""
    for folder, _, files in os.walk(checkout):
        for name in files:
            os.utime(Path(folder) / name, (OLD_S, OLD_S), follow_symlinks=False)


def printed(target: str, checkout: Path) -> tuple[int, str]:
    """Run a target as CI does; return its exit status and the line that CI has of it."""
    environ = {
        **os.environ,
        "CI_ONLY": target,
        # The environments hold an editable install of this checkout, not of the copy.
        "PYTHONPATH": str(checkout),
        "PYTEST_ADDOPTS": "-x",
    }
    done = subprocess.run(
        (sys.executable, "-m", "tests.ci"),
        cwd=checkout,
        env=environ,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT_S,
        check=False,
    )
    verdict = re.compile(rf"(RED|green|2nd try|left out) +make {target}\b")
    lines = [line for line in done.stdout.splitlines() if verdict.match(line)]
    return done.returncode, lines[-1].strip() if lines else done.stdout[-300:]


def main(argv: Sequence[str] | None = None) -> int:
    """Plant, run, print."""
    names = list(sys.argv[1:] if argv is None else argv) or list(FAULTS)
    if strange := [name for name in names if name not in FAULTS]:
        raise SystemExit(f"no fault for {', '.join(strange)}; there is {', '.join(FAULTS)}")
    green = 0
    print("| target | fault | what CI printed |\n| --- | --- | --- |", flush=True)
    environments = {
        target.name: target.environments
        for target in (*ALWAYS, *(target for slot in SLOTS for target in slot))
    }
    for name in names:
        # Made here and now: one that the copy would make would hold the copy, or clear ours.
        if environments[name]:
            made = ("make", "-s", *environments[name])
            subprocess.run(made, cwd=ROOT, check=True, stdout=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            checkout = Path(folder) / "checkout"
            copy_of_checkout(checkout)
            FAULTS[name].plant(checkout)
            made_old(checkout)
            code, line = printed(name, checkout)
            green += code == 0
            print(f"| `{name}` | {FAULTS[name].about} | {line} |", flush=True)
            shutil.rmtree(checkout / "build", ignore_errors=True)
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main())
