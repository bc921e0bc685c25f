"""Settings: four sources in order of weight, each value's source known, faults in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.errors import StartError
from antiphon.places import data_folder, default_data
from antiphon.settings import lines, load


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file, absent at first; nothing of this machine's environment counts."""
    for name in ("DATA", "PORT", "HOST", "WORKSPACE", "IGNORE", "READY_FILE", "OPEN", "RETENTION"):
        monkeypatch.delenv(f"ANTIPHON_{name}", raising=False)
    path = tmp_path / "config.toml"
    monkeypatch.setenv("ANTIPHON_CONFIG", str(path))
    return path


def test_a_flag_outweighs_the_environment_which_outweighs_the_file_and_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().settings.port == 7117
    file.write_text("port = 1\n")
    assert load().settings.port == 1
    monkeypatch.setenv("ANTIPHON_PORT", "2")
    assert load().settings.port == 2
    assert load({"port": 3}).settings.port == 3
    assert load({"port": None}).settings.port == 2


def test_each_value_tells_its_source(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('workspace = "/w"\nignore = ["*.log", "b c"]\n')
    monkeypatch.setenv("ANTIPHON_MAX_SOCKETS", "12")
    told = {line.name: line for line in lines(load({"open": True}))}
    assert {name: line.source for name, line in told.items()} == {
        "port": "default",
        "host": "default",
        "tcp": "default",
        "uds": "default",
        "tls_cert": "default",
        "tls_key": "default",
        "insecure_bind": "default",
        "host_names": "default",
        "public_url": "default",
        "proxies": "default",
        "data": "default",
        "workspace": "file",
        "ignore": "file",
        "ephemeral": "default",
        "actors": "default",
        "ready_file": "default",
        "open": "flag",
        "retention": "default",
        "max_connections": "default",
        "max_sockets": "environment",
    }
    assert told["ignore"].value == ("*.log", "b c")
    assert str(told["max_sockets"]) == "max_sockets = 12 sockets (environment)"


def test_a_list_in_the_environment_is_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_IGNORE", "*.log,build/")
    assert load().settings.ignore == ("*.log", "build/")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port = 99999", r"setting port \(from the file\).*99999"),
        ('port = "x"', r"setting port \(from the file\).*got x"),
        ("prot = 1", r"unknown setting 'prot' \(from the file\)"),
        ("port = ", r"config.toml is no TOML"),
    ],
)
def test_a_fault_is_one_line_that_names_the_setting_and_where_it_came_from(
    file: Path, text: str, says: str
) -> None:
    file.write_text(text)
    with pytest.raises(StartError, match=says) as caught:
        load()
    assert "\n" not in str(caught.value)


def test_a_settings_file_that_cannot_be_read_is_one_line(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StartError, match="cannot read settings file"):
        load()


def test_commands_find_the_same_data_folder_without_loading_the_model(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_folder() == load().settings.data == default_data()
    file.write_text('data = "/from/file"\n')
    assert data_folder() == load().settings.data == Path("/from/file")
    monkeypatch.setenv("ANTIPHON_DATA", "~/from-environment")
    assert data_folder() == load().settings.data == Path.home() / "from-environment"
    assert data_folder(Path("/given")) == load({"data": "/given"}).settings.data == Path("/given")


def test_retention_comes_from_the_file_or_as_json_from_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('[retention."worker.*"]\nmax_age = "7d"\nmax_bytes = "2GiB"\n')
    assert load().settings.retention == {"worker.*": {"max_age": "7d", "max_bytes": "2GiB"}}
    told = {line.name: str(line) for line in lines(load())}
    assert told["retention"] == "retention = worker.*=max_age=7d max_bytes=2GiB (file)"
    monkeypatch.setenv("ANTIPHON_RETENTION", '{"a": {"max_count": 5}}')
    assert load().settings.retention == {"a": {"max_count": 5}}


def test_retention_that_is_no_json_in_the_environment_is_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_RETENTION", "7d")
    with pytest.raises(StartError, match=r"retention \(from the environment\).* JSON.*got 7d"):
        load()
