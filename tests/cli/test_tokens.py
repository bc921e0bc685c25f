"""``token``, against a real server and without one; and where a token must not be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Shell = Any


def admin_token(shell: Shell) -> str:
    return str((shell.data / "admin-token").read_text().strip())


def test_a_token_is_printed_alone_works_and_ends_when_it_is_revoked(live: Shell) -> None:
    done = live(
        *("token", "create", "--name", "ann", "--pub", "chat.*", "--sub", "chat.*,build.*"),
        *("--deny", "chat.secret", "--expires", "30d"),
    )
    assert done.returncode == 0, done.stderr
    token = done.stdout.strip()
    assert token.startswith("anti_")
    assert done.stdout == f"{token}\n"
    assert "it is not shown again" in done.stderr
    assert token not in done.stderr
    live.ok("publish", "chat.a", "1", ANTIPHON_TOKEN=token)
    refused = live("publish", "build.a", "1", ANTIPHON_TOKEN=token)
    assert (refused.returncode, "(forbidden)" in refused.stderr) == (1, True)
    listed = live.ok("token", "list")
    assert "chat.*,build.*" in listed
    assert token not in listed
    assert live.ok("token", "revoke", "ann") == "ann is revoked\n"
    refused = live("query", ANTIPHON_TOKEN=token)
    assert (refused.returncode, "(unauthorized)" in refused.stderr) == (1, True)


def test_what_breaks_a_rule_is_one_line_and_a_usage_error(live: Shell) -> None:
    done = live("token", "create", "--name", "x", "--pub", "_sys.*")
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "can't be granted" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_role_is_refused_with_those_there_are(live: Shell) -> None:
    done = live("token", "create", "--name", "x", "--role", "root")
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "'root' is no role: one of worker, terminal, admin" in done.stderr


def test_the_admin_token_is_replaced_while_the_server_runs(live: Shell) -> None:
    old = admin_token(live)
    said = live.ok("token", "rotate")
    fresh = admin_token(live)
    assert fresh != old
    assert fresh not in said
    assert (live.data / "admin-token").stat().st_mode & 0o777 == 0o600
    assert "(unauthorized)" in live("topics", ANTIPHON_TOKEN=old).stderr
    live.ok("topics")


def test_the_admin_token_is_replaced_without_a_server_too(shell: Shell) -> None:
    nothing = shell("token", "rotate")
    assert nothing.returncode == 1
    assert "there is no data folder" in nothing.stderr
    assert not shell.data.exists()
    shell.data.mkdir(mode=0o700)
    (shell.data / "admin-token").write_text("x" * 43)
    shell.ok("token", "rotate")
    assert admin_token(shell).startswith("anti_")
    assert (shell.data / "admin-token").stat().st_mode & 0o777 == 0o600


@pytest.mark.long
def test_a_server_does_not_start_on_a_file_of_tokens_that_was_touched(shell: Shell) -> None:
    shell.data.mkdir(mode=0o700)
    file: Path = shell.data / "tokens.json"
    file.write_text('{"version": 1, "tokens": [7]}')
    file.chmod(0o600)
    done = shell("serve", "--port", "0")
    assert done.returncode == 1
    assert "tokens.json is not as it was written" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_process_no_output_and_no_file_but_its_own_shows_a_token(live: Shell) -> None:
    """A worker's environment, every command line of this user, the server's output, the folder."""
    asked = ("--name", "seeker", "--role", "worker", "--sub", "worker.*")
    token = live.ok("token", "create", *asked).strip()
    env = live.ok("run", "--", "env", ANTIPHON_TOKEN=token)
    assert "PATH=" in env
    told = [env, *live.server.out, *live.server.err, live.ok("query", "_sys.*")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:  # it has ended
            continue
    told.append((Path("/proc") / str(live.server.process.pid) / "environ").read_text())
    files = [file for file in live.data.iterdir() if file.name != "admin-token"]
    told += [file.read_bytes().decode("latin-1") for file in files if file.is_file()]
    for secret in (token, admin_token(live)):
        assert [text for text in told if secret in text] == []
    modes = {file.name: file.stat().st_mode & 0o777 for file in live.data.iterdir()}
    secret_files = ("admin-token", "tokens.json", "server.json")
    assert {modes[name] for name in secret_files} == {0o600}
