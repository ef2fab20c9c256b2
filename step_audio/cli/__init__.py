"""The command line: parse, call one function, return an exit code.

0 done; 1 our own failure; 2 something given is wrong, said in one line; 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from step_audio.cli.arguments import parser
from step_audio.cli.parts import CommandParts
from step_audio.cli.recipes import with_recipe
from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.profile import Profile
from step_audio.runtime import Runtime

_DISK: Final = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
        *(errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EMFILE),
    }
)
_BESIDE: Final = ("server", "tokenizer", "vocoder")
"""Top-level packages that are installed beside `step_audio`, under names that others use too."""


def main(
    argv: Sequence[str] | None = None, load: Callable[[Profile], CommandParts] = Runtime
) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process by default.
        load: gives the parts of a profile, each built when it is first asked for.
    """
    try:
        args = parser().parse_args(with_recipe(sys.argv[1:] if argv is None else argv))
        refuse_foreign_packages()
        code: int = args.run(args, load)
        sys.stdout.flush()
    except InputError as error:
        return _fail(error, 2)
    except StepAudioError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; closing stdout again would raise once more.
        sys.stdout = None
        return 1
    except Exception as error:
        why = disk_failure(error)
        if not why:
            raise
        return _fail(StepAudioError(why), 1)
    return code


def disk_failure(error: Exception) -> str:
    """Return what is wrong with the disk in one line, "" when an error is another one.

    Full, read-only, not ours, broken: nothing of that is a bug, wherever it is met.
    """
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{os.strerror(error.errno)}; what was finished before is kept"
    # The library's own error has no number.
    if type(error).__module__.startswith("safetensors") and "os error" in str(error).lower():
        return f"cannot write safetensors: {error}; what was finished before is kept"
    return ""


def _fail(error: StepAudioError, code: int) -> int:
    print(f"step-audio: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def refuse_foreign_packages() -> None:
    """Raise InputError when another package stands where one of ours should be found."""
    ours = Path(__file__).resolve().parents[2]
    for name in _BESIDE:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise InputError(f"the package {name!r} is missing; install step-audio again")
        found = Path(spec.origin).resolve().parent
        if found != ours / name:
            raise InputError(
                f"another package {name!r} at {found} hides ours at {ours / name}; install "
                "step-audio into an environment of its own, and start it elsewhere than beside it"
            )
