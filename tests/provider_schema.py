"""The AWS provider's schema for Terraform, as the package `cdktn-provider-aws` has it.

The package is generated from the provider's own schema: an archive with a TypeScript declaration for each resource and
data source, where each argument's comment names it as Terraform does. Of the archive's 480 MB only what is asked for is
taken, and the package isn't imported: that would start a Node.js.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distribution

_INTERFACE = re.compile(r"^export interface (\w+)[^{]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(r"/\*\*((?:(?!\*/).)*?)\*/\s+readonly \w+(\??): ((?:\{[^}]*\}|[^;{])+);", re.DOTALL)
_CLASS = re.compile(
    r"^export declare class \w+ extends cdktn\.Terraform(?:Resource|DataSource) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL
)
_GETTER = re.compile(r"^    get (\w+)\(\)", re.MULTILINE)


@dataclass(frozen=True)
class Argument:
    """What a resource or a block takes."""

    required: bool
    type: str
    """As TypeScript has it: `string`, `number`, `boolean`, `string[]`, `{ [key: string]: string }`; a block's is ''."""
    block: Block | None
    repeated: bool
    """Whether a block may stand there more than once."""


@dataclass(frozen=True)
class Block:
    """What may stand between two braces."""

    arguments: dict[str, Argument]


@dataclass(frozen=True)
class Resource:
    """A resource, or a data source."""

    block: Block
    attributes: frozenset[str]
    """What others may refer to."""


def read(types: Iterable[str]) -> dict[str, Resource]:
    """The schemas of `aws_…` resources, and of data sources as `data.aws_…`. What the provider lacks is left out."""
    paths = {f"package/lib/{_directory(type_)}/index.d.ts": type_ for type_ in types}
    (archive,) = [file for file in distribution("cdktn-provider-aws").files or () if file.suffix == ".tgz"]
    found: dict[str, Resource] = {}
    with tarfile.open(archive.locate(), "r|gz") as members:
        for member in members:
            if member.name in paths:
                content = members.extractfile(member)
                assert content is not None
                found[paths[member.name]] = _resource(content.read().decode())
                if len(found) == len(paths):
                    break
    return found


def _directory(type_: str) -> str:
    """Where a resource's declaration is: `aws_lb_listener` in `lb-listener`, `data.aws_region` in `data-aws-region`."""
    name = type_.replace("data.aws_", "data-aws-") if type_.startswith("data.") else type_.removeprefix("aws_")
    return name.replace("_", "-")


def _resource(text: str) -> Resource:
    interfaces = dict(_INTERFACE.findall(text))
    (config,) = re.findall(r"^export interface (\w+) extends cdktn\.TerraformMetaArguments", text, re.MULTILINE)
    block = _block(interfaces, config)
    (body,) = _CLASS.findall(text)
    getters = {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower() for name in _GETTER.findall(body)}
    return Resource(block, frozenset(getters | set(block.arguments)))


def _block(interfaces: dict[str, str], name: str) -> Block:
    arguments: dict[str, Argument] = {}
    for comment, optional, type_ in _ARGUMENT.findall(interfaces[name]):
        argument = re.findall(r"#(\w+) ", comment)[-1]
        plain = re.sub(r"\s+", " ", type_.replace(" | cdktn.IResolvable", "")).strip()
        inner = plain.removesuffix("[]")
        nested = _block(interfaces, inner) if f"{argument} block\n" in comment else None
        arguments[argument] = Argument(not optional, "" if nested else plain, nested, repeated=plain.endswith("[]"))
    return Block(arguments)
