"""Reads the settings files, and reports all that is wrong with them at once, as `file:line: key: message`.

Reading must be quick, since every command does it: what only errors need is imported once there is one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from branchline.errors import ConfigurationError
from branchline.settings.application import Application
from branchline.settings.platform import FILE_NAME, PlatformSettings
from branchline.settings.rules import Problem, application_problems, platform_problems
from branchline.settings.variables import FILE_VARIABLE, PREFIX, overlay

_LARGEST = 256 * 1024
"""Characters. A larger file is something else."""
_MOST_DOTS = 500
"""In a line. tomllib's time and memory grow with the square of a key's parts: 50,000 took 86 s and 9.6 GB."""

_Settings = TypeVar("_Settings", bound=Struct)


def read_application(text: str | None, where: str) -> Application:
    """The settings in the text of a `branchline.toml`, or the defaults for None; `where` is its name in errors.

    Raises:
        ConfigurationError: with a line for each thing that is wrong.
    """
    remedy = "every key is explained in docs/reference/branchline-toml.md"
    return _settings(Application, application_problems, text or "", where, remedy=remedy)


def read_platform(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> PlatformSettings:
    """The operator's settings: environment variables, which win, over one file, over the defaults.

    The file is `path`, or else what BRANCHLINE_CONFIG names, or else the first that exists of
    `$XDG_CONFIG_HOME/branchline/platform.toml` (without the variable: in `~/.config`) and
    `/etc/branchline/platform.toml`.

    Raises:
        ConfigurationError: a named file doesn't exist, a file can't be read, or a line for each thing that is wrong.
    """
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    if path is None:
        path, text = _first_existing(_usual_files(environ))
    else:
        text = _text(path)
        if text is None:
            raise ConfigurationError(f"{path}: no such file", remedy=f"correct the path, or unset {FILE_VARIABLE}")
    where = str(path) if path else "the platform's settings"
    remedy = "every key and its environment variable is explained in docs/reference/platform.md"
    variables = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    return _settings(PlatformSettings, platform_problems, text or "", where, remedy=remedy, variables=variables)


def _usual_files(environ: Mapping[str, str]) -> Iterable[Path]:
    """Where the operator's file is looked for, in this order (XDG Base Directory Specification)."""
    home = environ.get("HOME", "")
    configured = environ.get("XDG_CONFIG_HOME", "")
    if configured.startswith("/"):  # the specification has relative paths ignored
        yield Path(configured, "branchline", FILE_NAME)
    elif home:
        yield Path(home, ".config", "branchline", FILE_NAME)
    yield Path("/etc/branchline", FILE_NAME)


def _first_existing(paths: Iterable[Path]) -> tuple[Path | None, str | None]:
    for path in paths:
        text = _text(path)
        if text is not None:
            return path, text
    return None, None


def _text(path: Path) -> str | None:
    """The file's text, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text", remedy="save the file as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"{path} can't be read: {reason}", remedy="correct the path or its permissions"
        ) from error


def _check_size(text: str, where: str) -> None:
    """Anybody who can push a branch can write a branchline.toml, so it must not keep the reader busy."""
    if len(text) > _LARGEST:
        raise ConfigurationError(f"{where}: larger than {_LARGEST // 1024} KiB", remedy="is it the right file?")
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:
            raise ConfigurationError(
                f"{where}:{number}: more than {_MOST_DOTS} dots in one line",
                remedy="break a long value with three quotes",
            )


def _settings(
    struct: type[_Settings],
    rules: Callable[[_Settings], Iterable[Problem]],
    text: str,
    where: str,
    *,
    remedy: str,
    variables: Mapping[str, str] | None = None,
) -> _Settings:
    """The settings in the text, with the environment variables put over them."""
    text = text.removeprefix("\ufeff")  # some editors on Windows write a byte order mark
    _check_size(text, where)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        from branchline.settings.diagnosis import syntax_failure

        raise syntax_failure(error, where) from error
    sources, unknown = overlay(document, variables or {})
    problems: list[Problem] = []
    try:
        settings = msgspec.convert(document, struct)
    except msgspec.ValidationError:
        from branchline.settings.diagnosis import examine

        sound, problems = examine(document, struct)
        settings = msgspec.convert(sound, struct)
    wrong = {problem.path for problem in problems}
    problems += [each for each in rules(settings) if each.path not in wrong and each.other not in wrong]
    if problems or unknown:
        from branchline.settings.diagnosis import failure

        raise failure(problems, where, text, sources=sources, unknown_variables=unknown, remedy=remedy)
    return settings
