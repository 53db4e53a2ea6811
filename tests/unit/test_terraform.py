"""The Terraform module: each argument against the AWS provider's schema, and the whole against the templates.

No provider can be downloaded here, so `terraform plan` isn't run: that the values fit, and that AWS takes them, is
checked by nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from tests import provider_schema
from tests.provider_schema import Block, Resource

ROOT = Path(__file__).resolve().parent.parent.parent
MODULE = ROOT / "deploy" / "terraform"
TEMPLATES = ROOT / "src" / "branchline" / "engines" / "ecs" / "templates"
FILES = sorted(MODULE.glob("*.tf"))
META = {"count", "for_each", "depends_on", "provider", "lifecycle"}
"""Arguments of Terraform itself: https://developer.hashicorp.com/terraform/language/block/resource"""
_MARKS = {"__is_block__", "__comments__", "__inline_comments__"}
"""What the parser adds."""


class Module:
    """The module, as parsed: its blocks by kind."""

    def __init__(self) -> None:
        self.text = "\n".join(re.sub(r"(?m)^\s*#.*$", "", file.read_text()) for file in FILES)
        parsed = [hcl2.loads(file.read_text()) for file in FILES]
        self.blocks: dict[str, list[Any]] = {}
        for document in parsed:
            for kind in document.keys() - _MARKS:
                self.blocks.setdefault(kind, []).extend(document[kind])

    def named(self, kind: str) -> dict[str, Any]:
        """Variables or outputs, by name."""
        return {_bare(name): body for block in self.blocks[kind] for name, body in block.items()}

    @property
    def locals(self) -> dict[str, Any]:
        return {name: value for block in self.blocks["locals"] for name, value in block.items() if name not in _MARKS}

    @property
    def resources(self) -> dict[tuple[str, str], Any]:
        """Resources and data sources, by type and name; a data source's type begins with `data.`."""
        return {
            (f"{prefix}{_bare(type_)}", _bare(name)): body
            for kind, prefix in (("resource", ""), ("data", "data."))
            for block in self.blocks[kind]
            for type_, inner in block.items()
            for name, body in inner.items()
        }


def _bare(name: str) -> str:
    return name.strip('"')


@pytest.fixture(scope="module")
def module() -> Module:
    return Module()


@pytest.fixture(scope="module")
def schema(module: Module) -> dict[str, Resource]:
    return provider_schema.read({type_ for type_, _ in module.resources})


def breaches(where: str, body: dict[str, Any], block: Block) -> Iterator[str]:
    """What of a block's body the schema doesn't know, lacks or has in another kind."""
    given: set[str] = set()
    for name, value in body.items():
        if name in _MARKS:
            continue
        for inner_name, inner in _dynamic(value) if name == "dynamic" else [(name, value)]:
            given.add(inner_name)
            argument = block.arguments.get(inner_name)
            if argument is None:
                yield f"{where}: there is no {inner_name}"
            elif _is_block(inner) != (argument.block is not None):
                yield f"{where}: {inner_name} is {'no ' if argument.block is None else ''}block"
            elif argument.block is None:
                if not _fits(inner, argument.type):
                    yield f"{where}: {inner_name} is {argument.type}, not {inner!r}"
            else:
                if len(inner) > 1 and not argument.repeated:
                    yield f"{where}: {inner_name} stands there {len(inner)} times"
                for each in inner:
                    yield from breaches(f"{where}.{inner_name}", each, argument.block)
    for name, argument in block.arguments.items():
        if argument.required and name not in given:
            yield f"{where}: {name} is missing"


def _dynamic(blocks: list[Any]) -> Iterator[tuple[str, Any]]:
    """The blocks that `dynamic` blocks make."""
    for block in blocks:
        for name, body in block.items():
            yield _bare(name), body["content"]


def _is_block(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "__is_block__" in value[0]


def _fits(value: Any, type_: str) -> bool:
    """Whether a literal is of the kind; of an expression, the kind isn't known."""
    if isinstance(value, str) and value.startswith("${"):
        return True
    match type_:
        case "string":  # Terraform makes one of a number or a boolean
            return isinstance(value, str | int)
        case "number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case _ if type_.endswith("[]"):
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def test_every_argument_and_block_is_in_the_providers_schema(module: Module, schema: dict[str, Resource]) -> None:
    assert len(module.resources) > 30
    found: list[str] = []
    for (type_, name), body in module.resources.items():
        assert type_ in schema, f"the provider has no {type_}"
        own = {key: value for key, value in body.items() if key not in META}
        found += breaches(f"{type_}.{name}", own, schema[type_].block)
    assert found == []


def test_the_check_notices_what_the_schema_has_not(schema: dict[str, Resource]) -> None:
    wrong = """
resource "aws_lb_listener" "http" {
  load_balancer_arn = "arn"
  prot              = 80
  port              = "80"
  tags              = ["a"]

  default_action {
    fixed_response {
      status_code = "404"
    }
    fixed_response {
      content_type = "text/html"
    }
  }
  mutual_authentication = {}
}
"""
    body = hcl2.loads(wrong)["resource"][0]['"aws_lb_listener"']['"http"']
    assert set(breaches("it", body, schema["aws_lb_listener"].block)) == {
        "it: there is no prot",
        "it: port is number, not '\"80\"'",
        "it: tags is { [key: string]: string; }, not ['\"a\"']",
        "it.default_action: fixed_response stands there 2 times",
        "it.default_action.fixed_response: content_type is missing",
        "it.default_action: type is missing",
        "it: mutual_authentication is block",
    }


def test_every_reference_leads_to_something_and_everything_is_referred_to(
    module: Module, schema: dict[str, Resource]
) -> None:
    for prefix, type_, name, attribute in re.findall(
        r"(?<![\w.])(data\.)?(aws_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?", module.text
    ):
        assert (f"{prefix}{type_}", name) in module.resources, f"{prefix}{type_}.{name}"
        assert not attribute or attribute in schema[f"{prefix}{type_}"].attributes, (
            f"{prefix}{type_}.{name}.{attribute}"
        )
    assert set(re.findall(r"\bvar\.(\w+)", module.text)) == set(module.named("variable"))
    assert set(re.findall(r"\blocal\.(\w+)", module.text)) == set(module.locals)


def test_what_can_have_tags_says_whose_it_is(module: Module, schema: dict[str, Resource]) -> None:
    for (type_, name), body in module.resources.items():
        if not type_.startswith("data.") and "tags" in schema[type_].block.arguments:
            assert "local.tags" in body.get("tags", ""), f"{type_}.{name}"
    assert module.locals["tags"] == {'"branchline:platform"': "${var.platform}"}


class _Template(yaml.SafeLoader):
    """Reads CloudFormation's YAML; its functions come out as what they are given."""


_Template.add_multi_constructor(
    "!",
    lambda loader, _, node: {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence}[node.id](node),
)


def read_template(name: str) -> Any:
    return yaml.load((TEMPLATES / name).read_text(), _Template)


@pytest.fixture(scope="module")
def template() -> Any:
    """The CloudFormation template of the base."""
    return read_template("base.yaml")


@pytest.fixture(scope="module")
def instances() -> Any:
    """The CloudFormation template of the instances."""
    return read_template("capacity-ec2.yaml")


def test_it_tells_branchline_all_that_the_template_does(module: Module, template: Any) -> None:
    load_balancer = re.findall(r"(\w+) = ", module.locals["load_balancers"])
    assert {*module.locals["base"], *load_balancer} == set(template["Outputs"])


def test_its_variables_are_the_templates_parameters(module: Module, template: Any, instances: Any) -> None:
    variables = module.named("variable")
    # The stack of the instances is given these by the base's; here they are one.
    own = {name: each for name, each in instances["Parameters"].items() if name.endswith(("Instances", "Parameter"))}
    parameters = {_snake(name): parameter for name, parameter in (template["Parameters"] | own).items()}
    assert set(variables) == {*parameters, "instance_types"}
    for name, parameter in parameters.items():
        if "Default" in parameter:
            text = "" if variables[name]["default"] == [] else str(variables[name]["default"])
            assert _bare(text) == str(parameter["Default"]), name
        for allowed in parameter.get("AllowedValues", []):
            assert re.search(rf"[\[\s\"]{allowed}[\],\"]", str(variables[name]["validation"])), f"{name}: {allowed}"


def test_its_instances_are_those_of_the_template(module: Module, instances: Any) -> None:
    wanted = instances["Resources"]["Instances"]["Properties"]["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
    types = map(_bare, module.named("variable")["instance_types"]["default"])
    assert list(types) == [each["InstanceType"] for each in wanted]
    script = instances["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]
    settings = re.compile(r"^ *(ECS_\w+)=(\w*)$", re.MULTILINE)
    assert settings.findall(module.text) == settings.findall(script) != []


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


def test_its_roles_may_do_what_the_templates_may(module: Module, template: Any, instances: Any) -> None:
    resources = template["Resources"] | instances["Resources"]
    for role, document in (("ExecutionRole", "execution"), ("TaskRole", "task"), ("InstanceRole", "agent")):
        (policy,) = resources[role]["Properties"]["Policies"]
        wanted = {
            statement["Sid"]: {statement["Action"]}
            if isinstance(statement["Action"], str)
            else set(statement["Action"])
            for statement in policy["PolicyDocument"]["Statement"]
        }
        statements = module.resources["data.aws_iam_policy_document", document]["statement"]
        assert {_bare(each["sid"]): set(map(_bare, each["actions"])) for each in statements} == wanted


def test_its_page_for_hosts_without_a_branch_is_the_templates(template: Any) -> None:
    page = (MODULE / "not_found.html").read_text()
    assert page == template["Mappings"]["Pages"]["NotFound"]["Html"]
    assert len(page) <= 1024, "more than a load balancer takes"


def misformatted(text: str) -> list[str]:
    """Where the text isn't as `terraform fmt` leaves it: indentation, and `=` below each other in adjacent arguments.

    https://developer.hashicorp.com/terraform/language/style
    """
    found: list[str] = []
    depths, run, heredoc = [0], list[tuple[int, str, int]](), ""

    def end_of_run() -> None:
        widest = max((len(name) for _, name, _ in run), default=0)
        found.extend(f"{number}: '=' in column {at}" for number, _, at in run if at != widest + 1)
        run.clear()

    for number, line in enumerate(text.splitlines(), start=1):
        if heredoc:
            heredoc = "" if line.strip() == heredoc else heredoc
            continue
        if line != line.rstrip() or "\t" in line:
            found.append(f"{number}: white space")
        code = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line).partition("#")[0].strip()
        opened = sum(map(code.count, "([{")) - sum(map(code.count, ")]}"))
        if code[:1] in list(")]}") and code:
            depths = depths[:-1] or [0]
        if line and len(line) - len(line.lstrip()) != 2 * (len(depths) - 1):
            found.append(f"{number}: indentation")
        if opened > 0 or (opened == 0 and code[:1] in list(")]}") and code[-1:] in list("([{")):
            depths.append(number)
        started = re.match(r'(\s*)([\w"${}(). ,]+?)( *)= ', line)
        if started and opened == 0 and code[:1] not in list(")]}"):
            run.append((number, started[2], len(started[2]) + len(started[3])))
        elif started and opened > 0:
            end_of_run()
            if started[3] != " ":
                found.append(f"{number}: '=' of several lines")
        else:
            end_of_run()
        if begun := re.search(r"<<-?(\w+)$", line):
            heredoc = begun[1]
    end_of_run()
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_formatted(file: Path) -> None:
    assert misformatted(file.read_text()) == []


def test_the_check_of_the_format_notices_what_terraform_would_change() -> None:
    text = 'a = {\n  b = 1\n  ccc = 2\n  d = [\n    1,\n  ]\n   e = "x" \n}\n'
    assert misformatted(text) == ["2: '=' in column 2", "7: white space", "7: indentation"]
