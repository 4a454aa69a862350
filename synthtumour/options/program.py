"""How a script runs: options of every script, problems as one line on stderr, exit codes.

Imports nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from synthtumour import __version__
from synthtumour.errors import InputError, reason_of
from synthtumour.signals import handled
from synthtumour.text import printable

_STOPPED = "interrupted; whole files only are left"
_PACKAGES = (
    "the scripts need numpy, SimpleITK, scipy, pandas and tqdm: pip install -c requirements.txt and these"
)
_LONGEST_LINE = 4000  # a message may quote a file, and files may be hostile


def add_program_options(parser: argparse.ArgumentParser) -> None:
    """What every script takes: --debug and --version."""
    parser.add_argument(
        "--debug", action="store_true", help="print the traceback of every error too, for a report of a bug"
    )
    parser.add_argument("--version", action="version", version=f"SynthTumour {__version__}")


def add_hidden_alias(group: argparse._ActionsContainer, old: str, new: str, **how: Any) -> None:
    """Take `old`, an option's former name, for `new`, without showing it."""
    dest = new.removeprefix("--").replace("-", "_")
    group.add_argument(old, dest=dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **how)


def rarely_needed(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The last group of --help."""
    return parser.add_argument_group("rarely needed")


def add_any_brain_volume(group: argparse._ArgumentGroup) -> None:
    """What lets a mask through that is not of a brain's size."""
    group.add_argument(
        "--any-brain-volume",
        action="store_true",
        help="take brain masks of less than 200 ml or more than 2300 ml (animals; parts of a brain)",
    )


def seed(text: str) -> int:
    """argparse type of --seed: a whole number from 0 up."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return number


def run(
    main: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser, argv: list[str] | None
) -> int:
    """Parse `argv` and call `main`; problems become one line on stderr and an exit code.

    2: unusable input; 1: something nobody has thought of; 130: Ctrl-C; 143: terminated. Either way `main` can
    tidy up behind itself. With --debug the traceback goes before the line.
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next: answers and ends here
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever has started us
            setattr(sys, name, open(os.devnull, "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names have letters that not every terminal has
            stream.reconfigure(errors="backslashreplace")
    args = _parsed(parser, argv)
    args.command = (sys.argv[0], *(sys.argv[1:] if argv is None else argv))

    def tell(kind: str, message: object) -> None:
        print(printable(f"{parser.prog}: {kind}: {message}")[:_LONGEST_LINE], file=sys.stderr)

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        tell("warning", message)

    def terminate(_: int) -> None:
        raise SystemExit(143)

    with warnings.catch_warnings(), handled(terminate, (signal.SIGTERM,)):
        warnings.showwarning = warn  # type: ignore[assignment]
        warnings.simplefilter("always", UserWarning)
        try:
            code = main(args)
            sys.stdout.flush()  # here, where it can be told that it fails
            return code
        except BrokenPipeError:  # whoever read what is printed has gone, `head` say
            _drop_output()
            return 128 + 13  # as a shell has it for a program that SIGPIPE ends
        except KeyboardInterrupt:
            tell("stopped", _STOPPED)
            return 130
        except Exception as error:
            if isinstance(error, OSError) and error.filename is None:
                _drop_output()
            for line in "".join(traceback.format_exception(error)).splitlines() if args.debug else ():
                print(printable(line), file=sys.stderr)
            message, code = _told(error)
            tell("error", message)
            return code


def _told(error: Exception) -> tuple[str, int]:
    """What went wrong in one line, and the exit code."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, ImportError):
        return f"{error}; {_PACKAGES}", 2
    if isinstance(error, OSError):
        return f"{error.filename or 'output'}: {error.strerror or error}", 2
    return reason_of(error), 1


def _parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """What `argv` says; argparse repeats a file name that it did not expect as it is."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(argv)
    finally:
        for line in said.getvalue().splitlines():
            print(printable(line), file=sys.stderr)


def _drop_output() -> None:
    """Send what is left to print nowhere: the interpreter would try again when it ends, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
