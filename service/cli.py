"""The command line `asrd`: parse, run one command, turn errors into one line.

Exit status: 0 all well, 1 something could not be done, 2 wrong usage, 130 interrupted,
141 nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from asr import __version__
from asr.errors import AsrError

from .errors import UsageError
from .formats import printable

COMMANDS = (
    "transcribe", "listen", "run", "status", "control", "doctor", "devices", "evaluate", "grammar",
    "lm", "train", "tune", "export", "pack", "unpack", "config", "install_service",
)  # fmt: skip
"""Modules of `service.commands`, in the order of the help text."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `asrd` and return its exit status; argparse itself exits on --help and with 2."""
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except BrokenPipeError:
        _drop_output()
        return 141
    except KeyboardInterrupt:
        if args.debug:
            raise
        return 130
    except UsageError as error:
        sys.stderr.write(f"asrd: {printable(str(error))}\n")
        return 2
    except AsrError as error:
        return _fail(args, error, str(error))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _fail(args, error, f"{name}{(error.strerror or str(error)).lower()}")
    except Exception as error:  # the last task boundary: no traceback for users
        hint = "this is a bug, --debug shows where"
        return _fail(args, error, f"{type(error).__name__}: {error} ({hint})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asrd", description="Streaming speech recognition.")
    parser.add_argument("--version", action="version", version=f"asrd {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"service.commands.{name}")
        module.add_parser(subparsers)
        command = subparsers.choices[name.replace("_", "-")]
        _let_debug(command)
        command.set_defaults(run=module.run)
    return parser


def _let_debug(command: argparse.ArgumentParser) -> None:
    """Let --debug stand behind a command, too, and behind its actions."""
    # SUPPRESS: the default of a subcommand must not undo `asrd --debug COMMAND`
    command.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in set(action.choices.values()):  # an alias is no second parser
                _let_debug(below)


def _run(args: argparse.Namespace) -> int:
    # a name that the terminal cannot show must not stop the transcript beside it
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    if "threads" in args:
        import torch

        torch.set_num_threads(args.threads)
    status: int = args.run(args)
    sys.stdout.flush()
    return status


def _fail(args: argparse.Namespace, error: Exception, message: str) -> int:
    if args.debug:
        raise error
    sys.stderr.write(f"asrd: {printable(message)}\n")
    return 1


def _drop_output() -> None:
    """Keep the interpreter's last flush of stdout from failing once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
