"""What a server's process takes from its system, tried in processes of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from contextlib import closing
from typing import Any


def run(code: str, **options: Any) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"from antiphon.app.process import *\n{code}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        start_new_session=True,
        **options,
    )
    return done.stdout + done.stderr


LIMITS = "import resource as r; F = r.RLIMIT_NOFILE; r.setrlimit(F, (200, 700));"


def test_open_files_are_raised_to_what_is_needed_and_never_lowered() -> None:
    assert run(f"{LIMITS} raise_open_files(600); print(r.getrlimit(F))") == "(600, 700)\n"
    assert run(f"{LIMITS} raise_open_files(100); print(r.getrlimit(F))") == "(200, 700)\n"


def test_if_the_system_lets_fewer_be_open_that_is_said() -> None:
    said = run(f"{LIMITS} raise_open_files(5000); print(r.getrlimit(F))")
    assert "(700, 700)" in said
    assert "only 700 files may be open, max_connections takes up to 5000" in said


def test_a_terminal_that_can_hang_up_is_told_from_none() -> None:
    """With one, SIGHUP means that it has gone; without, that the certificate is to be read."""
    assert run("print(has_terminal())") == "False\n"
    master, slave = pty.openpty()
    with closing(os.fdopen(master, "rb")), closing(os.fdopen(slave, "rb")) as terminal:

        def take_it() -> None:
            fcntl.ioctl(terminal.fileno(), termios.TIOCSCTTY, 0)

        told = run("print(has_terminal())", preexec_fn=take_it, stdin=terminal)
    assert told == "True\n"
