"""Where things lie on this machine: the data folder, what is in it, the settings file.

Cheap to import, so that a command which only asks a server needn't load the
model of all settings (``settings.py``).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import StartError, cut

ENV_PREFIX = "ANTIPHON_"
SERVER_FILE = "server.json"
TOKEN_FILE = "admin-token"
TOKENS_FILE = "tokens.json"
LOG_FILE = "log.db"
SCHEMAS_FILE = "schemas.json"
LOCK_FILE = "lock"
SERVER_LOG_FILE = "server.log"


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Name the settings file: ``ANTIPHON_CONFIG``, else ``config.toml`` in the platform's place."""
    import platformdirs

    named = environ.get(f"{ENV_PREFIX}CONFIG")
    if named:
        return Path(named).expanduser()
    return platformdirs.user_config_path("antiphon", appauthor=False) / "config.toml"


def default_data() -> Path:
    """Name the platform's folder for a program's data."""
    import platformdirs

    return platformdirs.user_data_path("antiphon", appauthor=False)


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings file; empty if there is none.

    Raises:
        StartError: It can't be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StartError(f"cannot read settings file {path}: {why}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartError(f"settings file {path} is no TOML: {error}") from error


def data_folder(given: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Find the data folder: *given*, else ``ANTIPHON_DATA``, else the settings file, else default.

    Raises:
        StartError: The settings file can't be read, or its ``data`` is no text.
    """
    if given is not None:
        return given.expanduser()
    named = environ.get(f"{ENV_PREFIX}DATA")
    if not named:
        path = config_file(environ)
        named = read_config(path).get("data", "")
        if not isinstance(named, str):
            raise StartError(f"setting data in {path} must be text, got {cut(named)}")
    return Path(named).expanduser() if named else default_data()
