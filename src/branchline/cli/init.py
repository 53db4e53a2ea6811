"""`branchline init`."""

from __future__ import annotations

from pathlib import Path

import click

from branchline.cli.options import json_option
from branchline.cli.output import print_json
from branchline.errors import ConfigurationError, NotFoundError
from branchline.settings.application import FILE_NAME
from branchline.source import open_repository


@click.command()
@click.option("--force", is_flag=True, help="Write over a branchline.toml that is there.")
@json_option
def init_command(force: bool, as_json: bool) -> None:
    """Look at the repository's Dockerfile and write a branchline.toml that explains each of its keys.

    The file is optional: with a Dockerfile that has EXPOSE, every key's default will do.
    """
    from branchline.settings.template import annotated

    repository = open_repository(None, Path(), may_be_empty=True)
    if repository.root is None:
        raise ConfigurationError("a bare repository has no files to write to", remedy="run it in a clone")
    file, dockerfile = repository.root / FILE_NAME, repository.root / "Dockerfile"
    if file.exists() and not force:
        raise ConfigurationError(f"{file} is there already", remedy="edit it, or give --force to write over it")
    if not dockerfile.is_file():
        raise NotFoundError(
            f"{repository.root} has no Dockerfile",
            remedy="write one; if it is elsewhere, set build.context and build.dockerfile in branchline.toml",
        )
    text = annotated(repository.project_name(), dockerfile.read_text(encoding="utf-8", errors="replace"))
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{file} can't be written: {error.strerror}", remedy="see who owns it, and whether the disk has room"
        ) from error
    if as_json:
        print_json({"file": str(file), "project": repository.project_name()})
    else:
        click.echo(f"wrote {file.name}; commit it, then: branchline deploy")
