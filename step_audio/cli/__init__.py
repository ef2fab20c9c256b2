"""The command line: parse, call one function, return an exit code.

0 done; 1 our own failure; 2 something given is wrong, said in one line; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from step_audio.cli.arguments import parser
from step_audio.cli.parts import CommandParts
from step_audio.core.errors import InputError, StepAudioError
from step_audio.core.profile import Profile
from step_audio.runtime import Runtime


def main(
    argv: Sequence[str] | None = None, load: Callable[[Profile], CommandParts] = Runtime
) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process by default.
        load: gives the parts of a profile, each built when it is first asked for.
    """
    args = parser().parse_args(argv)
    try:
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
    return code


def _fail(error: StepAudioError, code: int) -> int:
    print(f"step-audio: {' '.join(str(error).split())}", file=sys.stderr)
    return code
