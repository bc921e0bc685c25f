"""Every setting of the server, in one model: its default, its bounds, its unit.

A value comes from a flag, else from the environment (``ANTIPHON_PORT``), else
from the settings file, else it is the default; ``load`` says which. Where the
file lies is ``places.py``'s. Imported by ``app`` and ``cli`` only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from antiphon.errors import StartError, cut
from antiphon.places import ENV_PREFIX, config_file, default_data, read_config

Source: TypeAlias = Literal["default", "file", "environment", "flag"]


def _listed(value: object) -> object:
    """Take ``a,b`` from the environment for a list."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _table(value: object) -> object:
    """Take JSON from the environment for a table."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"in the environment it is JSON: {error}") from error


def _expanded(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str | Path) else value


Folder: TypeAlias = Annotated[Path, BeforeValidator(_expanded)]
Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Tables: TypeAlias = Annotated[dict[str, dict[str, Any]], NoDecode, BeforeValidator(_table)]


class Settings(BaseSettings):
    """What a server is started with.

    Raises:
        ValidationError: A value breaks its bound; ``load`` turns this into one line.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    port: int = Field(7117, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on, of this machine"
    )
    tcp: bool = Field(True, description="listen on host and port; false needs uds")
    uds: Folder | None = Field(None, description="Unix socket to listen on, of mode 0600")
    tls_cert: Folder | None = Field(None, description="certificate, with its issuers', as PEM")
    tls_key: Folder | None = Field(None, description="key of the certificate, as PEM")
    insecure_bind: bool = Field(
        False, description="let other machines reach the server without TLS"
    )
    host_names: Names = Field((), description="more names that the server is reached by")
    public_url: str | None = Field(
        None, description="where browsers find the server behind a proxy, as https://NAME"
    )
    proxies: Names = Field(
        (), description="addresses, networks, or unix, whose X-Forwarded headers are believed"
    )
    data: Folder = Field(
        default_factory=default_data, description="folder of the log and its token"
    )
    workspace: Folder | None = Field(None, description="folder to watch for file events")
    ignore: Names = Field((), description="more patterns never watched, as in .gitignore")
    ephemeral: Names = Field((), description="more topics whose events are not kept, as patterns")
    actors: str | None = Field(
        None, description="your own actors, run in the server: MODULE:FUNCTION"
    )
    ready_file: Folder | None = Field(
        None, description="file to write url, token_file and pid to, once connections are accepted"
    )
    open: bool = Field(False, description="open the page in the browser")
    retention: Tables = Field(
        {}, description="how long events stay, by pattern: max_age, max_bytes, …"
    )
    max_connections: int = Field(
        4096,
        ge=16,
        description="most connections at once, WebSockets included",
        json_schema_extra={"unit": "connections"},
    )
    max_sockets: int = Field(
        1024, ge=1, description="most WebSockets at once", json_schema_extra={"unit": "sockets"}
    )
    max_token_sockets: int = Field(
        64,
        ge=1,
        description="most connections at once of one issued token",
        json_schema_extra={"unit": "sockets"},
    )
    max_rate: int = Field(
        500,
        ge=1,
        description="most events that one issued token publishes, on average",
        json_schema_extra={"unit": "events/s"},
    )
    max_burst: int = Field(
        2000,
        ge=1,
        description="most events that it publishes at once",
        json_schema_extra={"unit": "events"},
    )
    max_rate_bytes: int = Field(
        1024 * 1024,
        ge=1,
        description="most bytes of these; four seconds' worth at once",
        json_schema_extra={"unit": "bytes/s"},
    )
    max_topics: int = Field(
        10_000,
        ge=1,
        description="most topics that one issued token makes",
        json_schema_extra={"unit": "topics"},
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: ``load`` hands everything in, with its source."""
        return (init_settings,)


class Loaded(NamedTuple):
    """The settings, and where each came from."""

    settings: Settings
    sources: dict[str, Source]


class Line(NamedTuple):
    """One setting, for people: ``antiphon config`` prints these."""

    name: str
    value: Any
    unit: str | None
    source: Source
    about: str

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name} = {shown(self.value)}{unit} ({self.source})"


def load(flags: Mapping[str, Any] | None = None) -> Loaded:
    """Merge flags, environment, settings file and defaults, in this order of weight.

    Args:
        flags: By the names of the settings; None means: not given.

    Raises:
        StartError: A value doesn't fit, named with its source; or the file can't be read.
    """
    by_source: dict[Source, dict[str, Any]] = {
        "file": read_config(config_file()),
        "environment": EnvSettingsSource(Settings)(),
        "flag": {name: value for name, value in (flags or {}).items() if value is not None},
    }
    merged: dict[str, Any] = {}
    sources: dict[str, Source] = dict.fromkeys(Settings.model_fields, "default")
    for source, values in by_source.items():
        merged.update(values)
        sources.update(dict.fromkeys(values, source))
    try:
        return Loaded(Settings(**merged), sources)
    except ValidationError as error:
        raise StartError(_one_line(error, sources)) from error


def lines(loaded: Loaded) -> list[Line]:
    """List every setting with its value, unit and source, in the model's order."""
    return [
        Line(
            name,
            getattr(loaded.settings, name),
            _unit(name),
            loaded.sources[name],
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def shown(value: object) -> str:
    """Write a setting's value as a person would put it into the file."""
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={shown(part)}" for name, part in value.items())
    return str(value)


def _unit(name: str) -> str | None:
    extra = Settings.model_fields[name].json_schema_extra
    unit = extra.get("unit") if isinstance(extra, dict) else None
    return unit if isinstance(unit, str) else None


def _one_line(error: ValidationError, sources: Mapping[str, Source]) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    source = sources.get(name, "file")
    if first["type"] == "extra_forbidden":
        return f"unknown setting {name!r} (from the {source})"
    why = first["msg"].removeprefix("Value error, ")
    why = why[:1].lower() + why[1:]
    return f"setting {name} (from the {source}): {why}, got {cut(first['input'])}"
