"""Client commands find the running server and its token, and give the token to nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.cli.find import advice, find, finder
from antiphon.client import NoServer


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ANTIPHON_TOKEN", raising=False)
    monkeypatch.setenv("ANTIPHON_CONFIG", str(tmp_path / "none.toml"))
    (tmp_path / "token").write_text("local-secret\n")
    write(tmp_path, "http://127.0.0.1:7117")
    return tmp_path


def write(data: Path, url: str) -> None:
    facts = {"url": url, "pid": 1, "token_file": str(data / "token")}
    (data / "server.json").write_text(json.dumps(facts))


def test_the_data_folder_tells_address_and_token(data: Path) -> None:
    endpoint = find(data, None)
    assert (endpoint.url, endpoint.token) == ("http://127.0.0.1:7117", "local-secret")


def test_the_token_of_the_environment_outweighs_the_file(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_TOKEN", "given")
    assert find(data, None).token == "given"
    assert find(data, "http://elsewhere:1").token == "given"


def test_another_address_never_gets_the_local_token(data: Path) -> None:
    assert find(data, "http://127.0.0.1:7118").token is None
    assert find(data, "https://127.0.0.1:7117").token is None
    assert find(data, "http://evil.example:7117").token is None
    assert find(data, "http://127.0.0.1:7117/").token == "local-secret"


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"url": 3}'])
def test_without_a_usable_file_there_is_no_server_and_the_text_says_how_to_start_one(
    data: Path, content: str | None
) -> None:
    (data / "server.json").unlink()
    if content is not None:
        (data / "server.json").write_text(content)
    with pytest.raises(NoServer, match=f"antiphon serve --data {data}"):
        find(data, None)


def test_a_server_that_comes_back_elsewhere_is_found_again(data: Path) -> None:
    place = finder(data, None)
    assert place().port == 7117
    write(data, "http://127.0.0.1:7200")
    assert place().port == 7200


def test_what_to_do_is_to_start_a_server_or_to_look_at_the_address() -> None:
    assert advice(None, None) == "start one with: antiphon serve"
    assert advice(Path("/d"), None) == "start one with: antiphon serve --data /d"
    assert advice(None, "http://127.0.0.1:1") == "is the address right?"
