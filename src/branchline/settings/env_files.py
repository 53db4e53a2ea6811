"""The environment variables that a release gets: `env` from branchline.toml, and the env files, which hold secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from branchline.errors import ConfigurationError
from branchline.settings import patterns
from branchline.settings.application import Application

_SHORTEST_SECRET = 4
"""Characters. Hiding shorter values, such as "1", would make every text unreadable and tell what they are."""


def read_env(
    application: Application, directory: Path, *, may_be_missing: bool = False
) -> tuple[dict[str, str], frozenset[str]]:
    """The variables of `env` and then of each env file below `directory`, later ones winning; and the secret values.

    Every value from an env file is secret, unless it has less than four characters, and so is each line of one that has
    several, such as a private key, since logs are passed on line by line. `$NAME` in a value stays as it is: values of
    the machine that deploys must not slip into an environment.

    `may_be_missing` is for engines that read secrets by reference, where a file is there for other engines only.

    Raises:
        ConfigurationError: an env file is missing, unreadable or malformed; names file and line, never a value.
    """
    env = dict(application.env)
    secrets: set[str] = set()
    for name in application.env_files:
        if may_be_missing and not (directory / name).exists():
            continue
        for variable, value in _variables(directory / name, name):
            env[variable] = value
            secrets |= {value, *(line.strip() for line in value.splitlines())}
    return env, frozenset(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)


def _variables(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """The lines of one env file; `name` is how it is called in errors."""
    from dotenv.parser import parse_stream

    for binding in parse_stream(StringIO(_text(path, name))):
        if binding.key is None and not binding.error:
            continue  # blank lines and comments
        # The parser counts the blank lines before a binding as its own.
        before = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:before].count("\n")
        if binding.error or binding.key is None or binding.value is None:
            raise ConfigurationError(
                f"{name}:{line}: expected KEY=value", remedy="correct the line; a value of several lines goes in quotes"
            )
        if not re.search(patterns.VARIABLE, binding.key):
            raise ConfigurationError(
                f"{name}:{line}: the name before '=' is no name of an environment variable",
                remedy="use letters, digits and underscores, no digit first",
            )
        if "\0" in binding.value:
            raise ConfigurationError(
                f"{name}:{line}: {binding.key}: the value holds a NUL character", remedy="remove it"
            )
        yield binding.key, binding.value


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{name}: no such env file in {path.parent}", remedy="create it, or take it out of env_files"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{name} can't be read: {error.strerror}", remedy="correct its permissions, or take it out of env_files"
        ) from error
    except UnicodeDecodeError:
        # Without the cause, which holds the file's bytes.
        raise ConfigurationError(f"{name}: not UTF-8 text", remedy="save the file as UTF-8") from None
