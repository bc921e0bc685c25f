"""Issued tokens on disk: hashes alone, whole or not at all, and refused if they were touched."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from antiphon.bus import ADMIN
from antiphon.errors import BadRequest, InvalidPattern, StartError
from antiphon.gateway.tokens import (
    MOST,
    PATTERNS,
    Grant,
    Rights,
    Secret,
    Tokens,
    check_name,
    digest,
    new_secret,
)

T0 = datetime(2026, 11, 28, 12, tzinfo=UTC)


def grant(name: str, secret: str, *, expires: datetime | None = None, **rights: Any) -> Grant:
    return Grant(
        name, Rights(**rights), (Secret(hash=digest(secret), created=T0, expires=expires),)
    )


def saved(path: Path) -> tuple[Tokens, str]:
    """A file with ann's token in it."""
    tokens, secret = Tokens(path), new_secret()
    tokens.put(grant("ann", secret, pub=("a.*",), sub=("a.*", "b"), roles=("worker",)))
    tokens.save(tokens.encode())
    return tokens, secret


def test_a_secret_says_what_it_is_and_has_256_bits() -> None:
    secret = new_secret()
    assert secret.startswith("anti_")
    assert len(secret) == 5 + 43
    assert new_secret() != secret


def test_what_was_issued_is_known_again_and_only_its_hash_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    _, secret = saved(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens.json"]
    found = Tokens(path).find(secret)
    assert found is not None
    principal = found[0].principal
    assert (principal.name, principal.access.sub) == ("ann", ("a.*", "b"))
    assert principal.roles == {"worker"}
    assert not principal.access.admin
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), digest(secret), "é", "\udcff"):
        assert Tokens(path).find(wrong) is None


def test_a_revoked_token_is_not_known_and_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens, secret = saved(path)
    tokens.drop("ann")
    assert tokens.find(secret) is None
    assert tokens.by_id(digest(secret)[:12]) is None
    tokens.save(tokens.encode())
    assert Tokens(path).find(secret) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    saved(tmp_path / "tokens.json")
    (tmp_path / "tokens.json").chmod(mode)
    with pytest.raises(StartError, match=f"mode {mode:04o}"):
        Tokens(tmp_path / "tokens.json")


def touched(path: Path, change: Any) -> str:
    """Change the file, and see it refused; the error."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(StartError, match="is not as it was written") as refused:
        Tokens(path)
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.update(version=2), "version 2"),
        (lambda c: c.update(more=1), "more"),
        (lambda c: c["tokens"].append(c["tokens"][0]), "stands in it twice"),
        (lambda c: c["tokens"][0].update(name="admin"), "gives itself"),
        (lambda c: c["tokens"][0].update(name="a b"), "name is 1 to 64"),
        (lambda c: c["tokens"][0]["rights"].update(pub=["_sys.*"]), "can't be granted"),
        (lambda c: c["tokens"][0]["rights"].update(sub=["a..b"]), "a..b"),
        (lambda c: c["tokens"][0]["rights"].update(roles=["admin"]), "takes no pub"),
        (lambda c: c["tokens"][0]["rights"].update(roles=["god"]), "god"),
        (lambda c: c["tokens"][0]["secrets"][0].update(hash="00"), "hash"),
        (lambda c: c["tokens"][0]["secrets"].clear(), "one or two secrets"),
        (lambda c: c["tokens"][0]["secrets"][0].update(created="2026-01-01T00:00:00"), "offset"),
    ],
)
def test_a_file_that_was_touched_is_refused_and_says_where(
    tmp_path: Path, change: Any, why: str
) -> None:
    saved(tmp_path / "tokens.json")
    assert why in touched(tmp_path / "tokens.json", change)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff" * 9, b"null"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StartError, match="is not as it was written"):
        Tokens(path)


KILLED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from antiphon.gateway.tokens import Grant, Rights, Secret, Tokens, digest
tokens = Tokens(Path(sys.argv[1]))
for n in range(1000):
    secret = Secret(hash=digest(str(n)), created=datetime.now(UTC))
    tokens.put(Grant(f"n{n}", Rights(), (secret,)))
    tokens.save(tokens.encode())
    print(n, flush=True)
"""


def test_a_kill_while_a_token_is_kept_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(60)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    kept = Tokens(path)
    known = max(int(line) for line in lines if line.endswith("\n"))
    assert known + 1 <= len(kept) <= known + 2
    assert all(kept.find(str(n)) is not None for n in range(known + 1))
    kept.save(kept.encode())  # what the killed one left beside it is in nobody's way
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens.json"]


# --- rules --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 64])
def test_such_names_are_good(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65, "a/b", "actor:x", "a\n"])
def test_such_names_are_none(name: str) -> None:
    with pytest.raises(BadRequest, match="1 to 64"):
        check_name(name)


@pytest.mark.parametrize("name", ["admin", "system", "nobody"])
def test_names_that_antiphon_gives_itself_are_taken(name: str) -> None:
    with pytest.raises(BadRequest, match="gives itself"):
        check_name(name)


def test_an_admin_is_made_by_the_role_alone_and_never_by_patterns() -> None:
    everything = Rights(pub=("*",), sub=("*", "_sys.*")).principal("ann")
    assert not everything.access.admin
    admin = Rights(roles=("admin",)).principal("ann")
    assert (admin.access, admin.name) == (ADMIN.access, "ann")
    assert not admin.access.may_publish("_sys.audit.denied")


def test_what_cannot_be_granted_is_refused() -> None:
    with pytest.raises(InvalidPattern, match="reserved topics"):
        Rights(pub=("_sys.*",)).principal("ann")
    with pytest.raises(BadRequest, match="takes no pub"):
        Rights(roles=("admin",), deny=("a",)).principal("ann")
    for kind in ("pub", "sub", "deny"):
        many = tuple(f"a.n{n}" for n in range(PATTERNS + 1))
        with pytest.raises(BadRequest, match=f"at most 32 {kind}") as refused:
            Rights(**{kind: many}).principal("ann")
        assert refused.value.limit == PATTERNS


def test_a_file_with_too_many_names_is_refused(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    for n in range(MOST + 1):
        tokens.put(grant(f"n{n}", str(n)))
    tokens.save(tokens.encode())
    with pytest.raises(StartError, match="1001 names, more than 1000"):
        Tokens(tmp_path / "tokens.json")


# --- time ---------------------------------------------------------------------------------


def test_what_is_over_is_forgotten_and_the_rest_stays() -> None:
    tokens = Tokens()
    tokens.put(grant("ann", "1", expires=T0 + timedelta(seconds=5)))
    tokens.put(grant("bob", "2"))
    assert tokens.expire(T0) == []
    ((gone, secret),) = tokens.expire(T0 + timedelta(seconds=5))
    assert (gone.name, secret.hash) == ("ann", digest("1"))
    assert tokens.find("1") is None
    assert tokens.find("2") is not None


def test_of_two_secrets_the_one_that_is_over_goes_alone() -> None:
    tokens = Tokens()
    old = Secret(hash=digest("1"), created=T0, expires=T0 + timedelta(seconds=5))
    tokens.put(Grant("ann", Rights(), (old, Secret(hash=digest("2"), created=T0))))
    assert tokens.find("1") is not None
    tokens.expire(T0 + timedelta(seconds=5))
    assert tokens.find("1") is None
    assert tokens.find("2") is not None
    ann = tokens.get("ann")
    assert ann is not None
    assert ann.info.previous_until is None


def test_its_last_use_is_told_to_the_minute() -> None:
    tokens = Tokens()
    ann = grant("ann", "1")
    tokens.put(ann)
    tokens.encode()
    tokens.used(ann, ann.secrets[0], T0 + timedelta(seconds=61, microseconds=5))
    assert ann.info.last_used == T0 + timedelta(minutes=1)
    assert tokens.unsaved
    tokens.encode()
    tokens.used(ann, ann.secrets[0], T0 + timedelta(seconds=62))
    assert not tokens.unsaved


def test_errors_never_hold_what_would_open_anything(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    _, secret = saved(path)
    for change in (lambda c: c["tokens"][0].update(name=7), lambda c: c.update(version="x")):
        assert digest(secret) not in touched(path, change)
    assert secret not in repr(Tokens())
    for given in (secret, secret + "x" * 40, f" {secret}"):
        with pytest.raises(BadRequest, match="its name is asked for") as refused:
            check_name(given)
        assert refused.value.value is None
