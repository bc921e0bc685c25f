"""The admin token's file, and the cookie made for it."""

from __future__ import annotations

import hmac
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from antiphon.bus import ADMIN, Principal
from antiphon.errors import StartError
from antiphon.gateway.auth import COOKIE_S, Auth, bearer, load_token, read_cookies
from antiphon.gateway.holds import Pass
from antiphon.gateway.tokens import Grant, Rights, Secret, Tokens, digest, new_secret

TOKEN = "t" * 43


def whose(passed: Pass | None) -> Principal:
    assert passed is not None
    return passed.principal


def login(auth: Auth, token: str) -> str:
    passed = auth.by_token(token)
    assert passed is not None
    return auth.make_cookie(passed)[0]


def test_a_missing_token_is_made_once_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    token = load_token(path)
    assert token.startswith("anti_")
    assert len(token) == 5 + 43  # 256 bits in base64
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_token(path) == token
    assert [p.name for p in tmp_path.iterdir()] == ["admin-token"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_token_that_others_may_read_is_refused_without_being_shown(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "admin-token"
    path.write_text(TOKEN)
    path.chmod(mode)
    with pytest.raises(StartError, match=f"mode {mode:04o}") as refusal:
        load_token(path)
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 50, b"two words " * 5])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "admin-token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StartError):
        load_token(path)


def test_a_token_file_that_is_a_link_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(TOKEN)
    (tmp_path / "admin-token").symlink_to("real")
    with pytest.raises(StartError, match="no regular file"):
        load_token(tmp_path / "admin-token")
    with pytest.raises(StartError, match="cannot write"):
        load_token(tmp_path / "missing" / "admin-token")


def test_only_the_token_itself_is_the_admins() -> None:
    auth = Auth(TOKEN)
    assert whose(auth.by_token(TOKEN)) is ADMIN
    for wrong in ("", "t", TOKEN[:-1], TOKEN + "t", TOKEN.upper(), "é", "\udcff"):
        assert auth.by_token(wrong) is None


def test_a_cookie_outlives_a_restart_but_not_its_token_nor_its_time() -> None:
    cookie = login(Auth(TOKEN, now=lambda: 1000.0), TOKEN)
    assert TOKEN not in cookie
    assert whose(Auth(TOKEN, now=lambda: 1000.0 + COOKIE_S).by_cookie(cookie)) is ADMIN
    assert Auth(TOKEN, now=lambda: 1001.0 + COOKIE_S).by_cookie(cookie) is None
    assert Auth("u" * 43, now=lambda: 1000.0).by_cookie(cookie) is None


def test_a_changed_cookie_is_nobodys() -> None:
    auth = Auth(TOKEN)
    cookie = login(auth, TOKEN)
    for at in range(len(cookie)):
        other = "1" if cookie[at] != "1" else "2"
        assert auth.by_cookie(cookie[:at] + other + cookie[at + 1 :]) is None
    for junk in ("", ".", "..", "1.2.3", "x.y", "é.é"):
        assert auth.by_cookie(junk) is None


def test_two_logins_have_different_cookies() -> None:
    auth = Auth(TOKEN)
    assert login(auth, TOKEN) != login(auth, TOKEN)


def issued(tokens: Tokens, name: str, *, expires: float | None = None) -> str:
    """Issue a token by hand."""
    secret, at = new_secret(), datetime.fromtimestamp(0, UTC)
    end = None if expires is None else datetime.fromtimestamp(expires, UTC)
    kept = Secret(hash=digest(secret), created=at, expires=end)
    tokens.put(Grant(name, Rights(sub=("a.*",)), (kept,)))
    return secret


def test_a_cookie_is_its_tokens_alone_and_ends_with_it_or_with_the_admin_token() -> None:
    clock = [1000.0]
    tokens = Tokens()
    auth = Auth(TOKEN, tokens, now=lambda: clock[0])
    ann, bob = issued(tokens, "ann", expires=1100.0), issued(tokens, "bob")
    passed = auth.by_token(ann)
    assert passed is not None
    cookie, seconds = auth.make_cookie(passed)
    assert seconds == 100
    hers, his = auth.by_cookie(cookie), login(auth, bob)
    assert (whose(hers).name, whose(auth.by_cookie(his)).name) == ("ann", "bob")
    clock[0] = 1100.0
    assert auth.by_cookie(cookie) is None
    tokens.drop("bob")
    assert auth.by_cookie(his) is None
    admins = login(auth, TOKEN)
    issued(tokens, "eve")
    auth.replace_admin("u" * 43)
    assert auth.by_cookie(admins) is None
    assert auth.by_token(TOKEN) is None


def test_what_is_kept_of_a_token_makes_no_cookie() -> None:
    """Whoever reads the file of tokens can't log in by it."""
    tokens = Tokens()
    auth = Auth(TOKEN, tokens)
    secret = issued(tokens, "ann")
    kept = digest(secret)
    assert auth.by_token(kept) is None
    stolen = f"{kept[:12]}.{int(auth.now().timestamp())}.{'0' * 32}"
    for key in (kept.encode(), bytes.fromhex(kept)):
        for label in (b"antiphon cookie 1", b"antiphon cookie 2"):
            derived = hmac.digest(key, label, "sha256")
            signed = hmac.new(derived, stolen.encode(), "sha256").hexdigest()
            assert auth.by_cookie(f"{stolen}.{signed}") is None


def test_the_token_is_not_in_what_auth_shows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert TOKEN not in repr(Auth(TOKEN))
    assert TOKEN not in str(vars(Auth(TOKEN)))


def test_headers_are_read_as_they_stand() -> None:
    assert bearer([(b"authorization", b"Bearer abc")]) == "abc"
    assert bearer([(b"authorization", b"bearer abc")]) == "abc"
    assert bearer([(b"authorization", b"Basic abc")]) == ""
    assert bearer([]) is None
    cookies = [(b"cookie", b"a=1; antiphon_71=x; antiphon_7117=y=z")]
    assert list(read_cookies(cookies, "antiphon_7117")) == ["y=z"]
    assert list(read_cookies(cookies, "b")) == []
    assert list(read_cookies([*cookies, (b"cookie", b"a=2;a=3")], "a")) == ["1", "2", "3"]
