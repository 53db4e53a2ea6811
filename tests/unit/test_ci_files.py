"""action.yml, the GitLab template and the Jenkinsfile: well-formed, safe, and the comment's script on a GitHub of ours.

None of them was run by GitHub, GitLab or Jenkins. The first two are held against the JSON Schemas that editors use, and
tests/docs/test_action.py runs the action's steps. Of the Jenkinsfile, which is a Groovy program, only its outline and
its shell scripts are looked at.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from branchline.settings.variables import variable_names
from tests.actions_runner import ACTION, EXPRESSION, ROOT
from tests.docs.pages import DOCS, blocks, first_cells
from tests.github import TOKEN, GitHub, serving

TEMPLATE = ROOT / "deploy" / "gitlab" / "branchline.yml"
JENKINSFILE = (ROOT / "deploy" / "jenkins" / "Jenkinsfile").read_text()
STEPS: list[Any] = ACTION["runs"]["steps"]
SCRIPTS = {step["name"]: step["run"] for step in STEPS if "run" in step}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
INPUT = re.compile(r"\$\[\[ inputs\.(\w+) \]\]")


def schema(name: str) -> Any:
    """A JSON Schema, as check-jsonschema ships it."""
    (path,) = [file for file in distribution("check-jsonschema").files or () if file.name == f"{name}.json"]
    return json.loads(Path(str(path.locate())).read_text())


def shellcheck(script: str) -> str:
    """What ShellCheck has to say about a script."""
    command = [str(Path(sys.executable).with_name("shellcheck")), "--shell=bash", "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False).stdout


# action.yml


def test_the_action_has_the_documented_shape() -> None:
    jsonschema.validate(ACTION, schema("github-actions"))
    assert all(step["shell"] == "bash" for step in STEPS if "run" in step)


def test_no_expression_is_a_part_of_a_script() -> None:
    """A branch's name in a script would be run; in a variable, it is a text."""
    for name, script in SCRIPTS.items():
        assert not EXPRESSION.search(script), name


def test_every_name_in_an_expression_exists_and_every_input_is_used() -> None:
    text = json.dumps(ACTION)
    expressions = EXPRESSION.findall(text) + [step["if"] for step in STEPS if "if" in step]
    named = {name for each in expressions for name in re.findall(r"\b([a-z]+(?:\.[\w-]+)+)", each)}
    ids = {step["id"] for step in STEPS if "id" in step}
    for name in named:
        context, first, *_ = name.split(".")
        assert context in ("inputs", "github", "steps"), name
        assert context != "inputs" or first in ACTION["inputs"], name
        assert context != "steps" or first in ids, name
    assert {name.split(".")[1] for name in named if name.startswith("inputs.")} == set(ACTION["inputs"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_steps_pass_shellcheck(name: str) -> None:
    assert shellcheck(SCRIPTS[name]) == ""


def test_a_step_is_given_every_variable_that_it_reads() -> None:
    of_the_runner = {"RUNNER_TEMP", "GITHUB_ACTION_PATH", "GITHUB_OUTPUT"}
    settings = dict.fromkeys(variable_names())
    for step in STEPS:
        script = step.get("run", "")
        read = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", script)) - of_the_runner - settings.keys()
        assert read <= step.get("env", {}).keys(), step["name"]
    python = (ROOT / "deploy" / "github" / "comment.py").read_text()
    (comment,) = [step for step in STEPS if "comment.py" in step.get("run", "")]
    read = set(re.findall(r"environ\['(\w+)'\]", python.replace('"', "'")))
    assert read - {"GITHUB_API_URL", "GITHUB_REPOSITORY"} == comment["env"].keys()


def test_the_settings_that_the_ci_files_set_exist() -> None:
    for text in ((ROOT / "action.yml").read_text(), TEMPLATE.read_text(), JENKINSFILE):
        assert set(re.findall(r"\b(BRANCHLINE_[A-Z_]+)\b", text)) <= set(variable_names())


def test_the_outputs_are_those_of_the_deploy(tmp_path: Path) -> None:
    def outputs(document: Any) -> list[str]:
        (tmp_path / "result.json").write_text(json.dumps(document))
        command = [sys.executable, "-I", str(ROOT / "deploy" / "github" / "outputs.py"), str(tmp_path / "result.json")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    said = outputs(deployed())
    assert said == ["url=https://main--shop.example.com", f"commit={COMMIT}", "release=3", "seconds=47.6"]
    assert {line.split("=")[0] for line in said} == set(ACTION["outputs"])
    assert outputs({"error": "a newer commit serves", "remedy": "", "details": [], "exit_code": 0}) == []


# The comment


def deployed() -> dict[str, Any]:
    """The keys that matter here of what `deploy --json` prints."""
    return {
        "url": "https://main--shop.example.com",
        "commit": COMMIT,
        "release": {"number": 3},
        "seconds": {"build": 30.1, "total": 47.6},
    }


def failed(error: str, *details: str, exit_code: int = 1) -> dict[str, Any]:
    return {"error": error, "remedy": "look at the log", "details": list(details), "exit_code": exit_code}


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as made:
        yield made


@pytest.fixture
def comment(github: GitHub, tmp_path: Path) -> Any:
    """Runs the script as the action does, after a command that printed the document; returns the job's log."""

    def run(
        document: Any, *, branch: str = "main", command: str = "deploy", subject: str = "/shop/.", **env: str
    ) -> str:
        file = tmp_path / "branchline.json"
        file.write_text(document if isinstance(document, str) else json.dumps(document))
        variables = {"BRANCH": branch, "COMMAND": command, "GITHUB_TOKEN": TOKEN, "SUBJECT": subject}
        done = subprocess.run(
            [sys.executable, "-I", str(ROOT / "deploy" / "github" / "comment.py"), str(file)],
            env={"PATH": os.environ["PATH"], **github.environment, **variables, **env},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def visible(body: str) -> str:
    """A comment as readers see it."""
    return re.sub(r"<!--.*?-->\n", "", body)


def test_the_comment_is_written_once_and_then_edited(github: GitHub, comment: Any) -> None:
    github.open(7, "main", comments=("Looks good",))
    assert comment(failed("the build failed", "step 3: no such file")) == ""
    assert "step 3: no such file" in github.bodies(7)[1]
    comment(deployed())
    assert [visible(body) for body in github.bodies(7)] == [
        "Looks good",
        f"<https://main--shop.example.com> serves {COMMIT} (release 3, 48 s).",
    ]
    comment("", command="destroy")
    assert visible(github.bodies(7)[1]) == "The branch's environment is removed."


def test_each_platform_and_project_has_a_comment_of_its_own(github: GitHub, comment: Any) -> None:
    github.open(7, "main")
    for subject in ("/shop/.", "/admin/.", "staging/shop/.", "/shop/."):
        comment(deployed(), subject=subject)
    assert len(github.bodies(7)) == len(set(github.bodies(7))) == 3


def test_the_comment_is_found_among_many_and_a_quotation_of_it_is_left_alone(github: GitHub, comment: Any) -> None:
    github.open(7, "main")
    comment(deployed())
    (ours,) = github.comments[7]
    quotation = {"id": 1, "body": f"> {ours['body']}\n\nthat one"}
    github.comments[7] = [quotation, *({"id": 100 + at, "body": f"comment {at}"} for at in range(150)), ours]
    comment(failed("no room"))
    assert len(github.comments[7]) == 152
    assert github.comments[7][0]["body"].endswith("that one")
    assert "no room" in github.comments[7][-1]["body"]


def test_only_the_open_pull_requests_of_the_branch_get_a_comment(github: GitHub, comment: Any) -> None:
    github.open(1, "main", state="closed")
    github.open(2, "other")
    github.open(3, "main")
    comment(deployed())
    assert [len(github.bodies(number)) for number in (1, 2, 3)] == [0, 0, 1]


def test_a_removed_environment_edits_the_comments_of_closed_pull_requests_and_writes_none(
    github: GitHub, comment: Any
) -> None:
    github.open(1, "fix/#1")
    comment(deployed(), branch="fix/#1")
    github.branches[1] = "fix/#1", "closed"
    github.open(2, "fix/#1", state="closed")
    comment("", branch="fix/#1", command="destroy")
    assert [visible(body) for body in github.bodies(1)] == ["The branch's environment is removed."]
    assert github.bodies(2) == []


def test_a_branch_without_a_pull_request_is_no_failure(comment: Any) -> None:
    assert comment(deployed()) == "No pull request of main to comment on.\n"


@pytest.mark.parametrize(
    "document", [failed("a newer commit serves", exit_code=0), ""], ids=["superseded", "killed before it could tell"]
)
def test_nothing_is_said_where_a_newer_deploy_or_nobody_knows(github: GitHub, comment: Any, document: Any) -> None:
    github.open(7, "main")
    assert comment(document) == ""
    assert github.bodies(7) == []


def test_what_a_container_printed_does_not_break_out_of_its_block(github: GitHub, comment: Any) -> None:
    github.open(7, "main")
    comment(failed("it ended", "````", "@team <img src=x>"))
    lines = visible(github.bodies(7)[0]).splitlines()
    assert lines[2] == "`````text"
    assert lines[-1] == "`````"
    assert lines[3:-1] == ["it ended", "look at the log", "````", "@team <img src=x>"]


def test_of_a_long_output_the_end_is_shown_and_the_message_too(github: GitHub, comment: Any) -> None:
    github.open(7, "main")
    comment(failed("it ended", *map(str, range(20_000))))
    body = github.bodies(7)[0]
    assert len(body) < 11_000
    assert "it ended" in body
    assert "19999" in body


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_a_warning_that_says_what_to_do(github: GitHub, comment: Any, status: int) -> None:
    github.refusal = status
    said = comment(deployed())
    assert said.startswith("::warning::No comment on the pull request: GitHub answered ")
    assert str(status) in said
    assert ("pull-requests: write" in said) == (status != 500)
    assert TOKEN not in said


def test_a_github_that_is_not_there_is_a_warning(comment: Any) -> None:
    said = comment(deployed(), GITHUB_API_URL="http://127.0.0.1:1")
    assert said.startswith("::warning::No comment on the pull request: ")
    assert said.count("\n") == 1


# GitLab


@pytest.fixture(scope="module")
def template() -> tuple[Any, Any]:
    """The header with the inputs, and the jobs."""
    header, jobs = yaml.safe_load_all(TEMPLATE.read_text())
    return header["spec"]["inputs"], jobs


def test_the_gitlab_template_has_the_documented_shape(template: tuple[Any, Any]) -> None:
    inputs, jobs = template
    known = schema("gitlab-ci")
    jsonschema.Draft7Validator(known).validate(jobs)
    assert set(INPUT.findall(TEMPLATE.read_text())) == set(inputs)
    assert all(keys.keys() <= {"description", "default", "type", "options", "regex"} for keys in inputs.values())


def test_the_gitlab_jobs_are_tied_to_each_other(template: tuple[Any, Any]) -> None:
    _, jobs = template
    deploy, destroy = jobs["branchline-deploy"], jobs["branchline-destroy"]
    assert deploy["environment"]["on_stop"] == "branchline-destroy"
    assert destroy["environment"]["action"] == "stop"
    assert deploy["environment"]["name"] == destroy["environment"]["name"]
    assert [rule["if"] for rule in deploy["rules"]] == [rule["if"] for rule in destroy["rules"]]
    assert destroy["variables"]["GIT_STRATEGY"] == "none", "the branch is gone by then"


def test_no_input_is_a_part_of_a_gitlab_script_and_all_pass_shellcheck(template: tuple[Any, Any]) -> None:
    _, jobs = template
    for job in jobs.values():
        script = "\n".join([*job.get("before_script", ()), *job.get("script", ())])
        assert not INPUT.search(script)
        assert shellcheck(script) == ""


# Jenkins


def jenkins_scripts() -> list[str]:
    return re.findall(r"'''(.*?)'''", JENKINSFILE, re.DOTALL) + re.findall(r"sh '([^']+)'", JENKINSFILE)


def outline(text: str) -> list[str]:
    """The names of blocks in their order, each with its depth; fails where a brace has no other."""
    code = re.sub(r"'''.*?'''|'[^']*'|//[^\n]*", "''", text, flags=re.DOTALL)
    found: list[str] = []
    depth = 0
    for name, brace in re.findall(r"(\w+)?(?:\([^(){}]*\))?\s*([{}])", code):
        if brace == "{":
            found.append(f"{depth} {name}")
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert code.count("(") == code.count(")")
    assert code.count("[") == code.count("]")
    return found


def test_the_jenkinsfile_is_a_declarative_pipeline() -> None:
    """https://www.jenkins.io/doc/book/pipeline/syntax/: which sections may stand where."""
    found = outline(JENKINSFILE)
    assert found[0] == "0 pipeline"
    assert [name for name in found if name.startswith("0")] == ["0 pipeline"]
    assert {name for name in found if name.startswith("1 ")} == {"1 agent", "1 triggers", "1 environment", "1 stages"}
    assert {name for name in found if name.startswith("2 ")} == {"2 stage"}
    assert {name for name in found if name.startswith("3 ")} == {"3 steps", "3 when"}


def test_the_jenkinsfile_puts_no_variable_into_a_script() -> None:
    assert '"""' not in JENKINSFILE
    assert not re.search(r'sh\s*\(?\s*"', JENKINSFILE)
    assert len(jenkins_scripts()) == 3
    for script in jenkins_scripts():
        assert shellcheck(script) == ""


# The pages


def test_the_workflows_that_the_pages_show_are_well_formed() -> None:
    workflows, pipelines = schema("github-workflows"), schema("gitlab-ci")
    seen = {"github": 0, "gitlab": 0}
    for page in ("aws-ci.md", "ci.md"):
        for block in blocks((DOCS / "how-to" / page).read_text()):
            if block.language != "yaml":
                continue
            document = yaml.load(block.text, yaml.BaseLoader)  # YAML 1.1 takes `on` for a boolean
            if "on" in document:
                jsonschema.Draft7Validator(workflows).validate(yaml.safe_load(block.text.replace("\non:", '\n"on":')))
                seen["github"] += 1
                _check_use(document)
            else:
                jsonschema.Draft7Validator(pipelines).validate(yaml.safe_load(block.text))
                seen["gitlab"] += 1
                _check_include(document)
    assert seen == {"github": 3, "gitlab": 2}


def test_the_page_tells_of_every_input_and_output_of_the_action() -> None:
    assert set(first_cells((DOCS / "how-to" / "aws-ci.md").read_text())) >= {*ACTION["inputs"], *ACTION["outputs"]}


def _check_use(workflow: Any) -> None:
    """What a workflow gives the action and reads of it exists."""
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if "/branchline@" in step.get("uses", ""):
                assert step.get("with", {}).keys() <= ACTION["inputs"].keys()
                read = re.findall(rf"steps\.{step.get('id')}\.outputs\.(\w+)", json.dumps(job))
                assert set(read) <= ACTION["outputs"].keys()


def _check_include(pipeline: Any) -> None:
    """What a pipeline gives the template exists, and what the template needs is given."""
    inputs = next(yaml.safe_load_all(TEMPLATE.read_text()))["spec"]["inputs"]
    for include in pipeline.get("include", ()):
        assert include["inputs"].keys() <= inputs.keys()
        assert {name for name, value in inputs.items() if "default" not in value} <= include["inputs"].keys()
