"""What CI runs, in the order of its worth, and what each target needs of the machine.

Standard library only: this is read before any environment is made.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BUDGET_S = 85 * 60
"""All of a run. What is behind this time fails as a time-out does."""

VOICES = Path("/usr/share/festival/voices/english")


@dataclass(frozen=True)
class Needs:
    """What a machine must have. It is declared: what is not here may not leave a target out."""

    commands: tuple[tuple[str, ...], ...] = ()
    """Programs; of each tuple one is enough."""
    machine: str = ""
    """System and processor, as `uname -sm` says them."""
    memory_gib: float = 0.0
    disk_gib: float = 0.0
    root: bool = False

    def lacking(self, folder: Path) -> list[str]:
        """Return what this machine lacks, in words; empty where all is there."""
        lacks = [" or ".join(names) for names in self.commands if not any(map(shutil.which, names))]
        if self.machine and self.machine != f"{platform.system()} {platform.machine()}":
            lacks.append(self.machine)
        if self.memory_gib and memory_gib() < self.memory_gib:
            lacks.append(f"{self.memory_gib:g} GiB of memory")
        if self.disk_gib and shutil.disk_usage(folder).free < self.disk_gib * 2**30:
            lacks.append(f"{self.disk_gib:g} GiB of free disk")
        if self.root and os.geteuid() != 0:
            lacks.append("root")
        return lacks


@dataclass(frozen=True)
class Target:
    """One target of the Makefile."""

    name: str
    limit_s: float
    environments: tuple[str, ...] = ()
    """Stamps that make builds first, with a limit of their own: what a package index takes is no
    time of the tests."""
    set_up_s: float = 600
    needs: Needs = field(default_factory=Needs)
    again_s: float = 0.0
    """Above 0: what failed is run once more within this time, and a pass is told as one at the
    second try. Only for targets that meet real servers, whose pace is the machine's."""
    variables: tuple[str, ...] = ()
    """For make, such as MINUTES=5."""

    @property
    def shown(self) -> str:
        """Return the command as somebody would type it."""
        return " ".join(("make", self.name, *self.variables))


@dataclass(frozen=True)
class Package:
    """A Debian package and how to see that what it brings is there, from wherever it came."""

    name: str
    brings: tuple[str, ...]
    """Programs or files; one is enough."""

    def is_there(self) -> bool:
        """Return whether the machine has it."""
        return any(
            Path(one).exists() if one.startswith("/") else shutil.which(one) for one in self.brings
        )


def memory_gib() -> float:
    """Return the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


PACKAGES: Sequence[Package] = (
    Package("espeak-ng", ("espeak-ng",)),
    Package("flite", ("flite",)),
    Package("festival", ("festival",)),
    Package("festvox-kdlpc16k", (str(VOICES / "ked_diphone"),)),
    Package("festvox-kallpc16k", (str(VOICES / "kal_diphone"),)),
    Package("chromium", ("chromium", "chromium-browser")),
    Package("nodejs", ("node",)),
    Package("npm", ("npm",)),
    Package("g++", ("c++",)),
    Package("nginx", ("nginx", "/usr/sbin/nginx")),
)

NODE = (("node",), ("npm",))
BROWSER = (("chromium", "chromium-browser"),)

ALWAYS: Sequence[Target] = (
    Target("test", 1800, (".venv/.pitch-ready",), set_up_s=1200),
    Target(
        "test-web",
        480,
        ("build/web/.ready",),
        needs=Needs(commands=(*NODE, *BROWSER)),
        again_s=180,
    ),
    Target(
        "test-vllm",
        600,
        ("build/vllm/.ready",),
        needs=Needs(machine="Linux x86_64", memory_gib=6, disk_gib=4),
        again_s=300,
    ),
    Target(
        "test-any-chat",
        480,
        (".venv/.whisper-ready", "build/clients/openai3/.ready"),
        needs=Needs(commands=NODE),
        again_s=240,
    ),
    Target("test-published", 780, again_s=400),
    Target("test-package", 240, ("build/package/.ready",)),
    Target("test-api", 300, ("build/test-api/.ready",)),
    Target("test-gpu", 900, needs=Needs(commands=(("nvidia-smi",),))),
)
"""Each run, all of them."""

STOCK = tuple(f"build/clients/{name}/.ready" for name in ("openai3", "openai2", "agents"))

SLOTS: Sequence[Sequence[Target]] = (
    (
        Target(
            "test-clients",
            600,
            (*STOCK, "build/clients/frameworks/.ready", "build/clients/node/.ready"),
            needs=Needs(commands=NODE),
        ),
        Target("soak", 480, variables=("MINUTES=5",)),
        Target("test-gateways", 600, needs=Needs(commands=(("nginx", "/usr/sbin/nginx"),))),
    ),
    (
        Target("test-train", 1500),
        Target("docs", 300, ("build/docs/.ready",)),
        Target("test-ray", 600, (".venv/.ray-ready",), needs=Needs(memory_gib=4)),
    ),
    (
        Target("nano-gate", 900, ("build/voices/.ready",), needs=Needs(commands=NODE, disk_gib=2)),
        Target("test-fuzz", 600, variables=("FRAMES=20000",)),
        Target("test-sound-fuzz", 600, variables=("FILES=300",)),
    ),
)
"""The slow ones; each run takes one slot."""


def of_this_run(number: int) -> list[Target]:
    """Return the targets of a run, in their order; `number` decides which slot it takes."""
    return [*ALWAYS, *SLOTS[number % len(SLOTS)]]
