"""`branchline schema`."""

from __future__ import annotations

import click


@click.command()
@click.argument("file", type=click.Choice(["branchline", "platform"]), default="branchline")
@click.option("--json", is_flag=True, expose_value=False, help="What it prints is JSON in any case.")
def schema_command(file: str) -> None:
    """Print the JSON Schema of branchline.toml, or of the operator's platform.toml, for editors."""
    from branchline.cli.output import print_json
    from branchline.settings import schema

    print_json(schema.application_schema() if file == "branchline" else schema.platform_schema())
