"""`branchline init`."""

from __future__ import annotations

from pathlib import Path

import click

from branchline.errors import ConfigurationError, NotFoundError
from branchline.settings.application import FILE_NAME
from branchline.source import open_repository


@click.command()
@click.option("--force", is_flag=True, help="Write over a branchline.toml that is there.")
def init_command(force: bool) -> None:
    """Look at the repository's Dockerfile and write a branchline.toml that explains each of its keys.

    The file is optional: with a Dockerfile that has EXPOSE, every key's default will do.
    """
    from branchline.settings.template import annotated

    repository = open_repository(None, Path())
    if repository.root is None:
        raise ConfigurationError("a bare repository has no files to write to", remedy="run it in a clone")
    file, dockerfile = repository.root / FILE_NAME, repository.root / "Dockerfile"
    if file.exists() and not force:
        raise ConfigurationError(f"{file} is there already", remedy="edit it, or give --force to write over it")
    if not dockerfile.exists():
        raise NotFoundError(
            f"{repository.root} has no Dockerfile",
            remedy="write one; if it is elsewhere, set build.context and build.dockerfile in branchline.toml",
        )
    file.write_text(annotated(repository.project_name(), dockerfile.read_text()))
    click.echo(f"wrote {file.name}; commit it, then: branchline deploy")
