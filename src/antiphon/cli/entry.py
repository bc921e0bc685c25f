"""From the process to a command and back: every outcome becomes an exit code and one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from antiphon.cli.console import complain, describe
from antiphon.client.endpoint import NoServer
from antiphon.errors import AntiphonError, BusError

FAILED = 1
USAGE = 2
NO_SERVER = 3
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; None takes the process's.

    Returns:
        0, 1 failed, 2 usage (a value that breaks a rule too), 3 no server, 130 interrupted;
        of ``run`` its command's code.
    """
    import typer

    from antiphon.cli.tree import app

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        code = app(
            list(sys.argv[1:] if arguments is None else arguments),
            prog_name="antiphon",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except typer.TyperException as error:
        return _usage(error)
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as error:
        # Typer turns a broken pipe into an exit of its own.
        if isinstance(error.__context__, BrokenPipeError):
            return _reader_left()
        raise
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except NoServer as error:
        complain(str(error))
        return NO_SERVER
    except AntiphonError as error:
        complain(describe(error))
        wrong = isinstance(error, BusError) and error.status == BusError.status
        return USAGE if wrong else FAILED
    except OSError as error:
        complain(_what_failed(error))
        return FAILED
    return code if isinstance(code, int) else 0


def _what_failed(error: OSError) -> str:
    """Name the file and the reason, without the number."""
    if error.filename is None or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror.lower()}"


def _usage(error: Exception) -> int:
    """Say in one line what was wrong with the arguments."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "antiphon"
    message = " ".join(getattr(error, "format_message", error.__str__)().split())
    message = message.replace("Value error, ", "")
    if message:
        complain(f"{message[:1].lower()}{message[1:].rstrip('.')} (see {command} --help)")
    return USAGE


def _reader_left() -> int:
    """End quietly: whoever read our output has had enough, as ``head`` does."""
    # What is still buffered would raise once more while Python shuts down.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
