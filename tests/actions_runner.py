"""Runs the steps of `action.yml` as GitHub's runner does, as far as the action needs it.

https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax, and for the expressions
https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text())
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""What `shell: bash` is."""
_STATUS = re.compile(r"\b(always|success|failure|cancelled)\(\)")
_NAME = re.compile(r"'(?:[^']|'')*'|\b([a-z]+(?:\.[\w-]+)+)")


@dataclass
class Step:
    """How a step ended."""

    outcome: str
    outputs: dict[str, str] = field(default_factory=dict[str, str])
    log: str = ""


@dataclass
class Runner:
    """One job that uses the action."""

    workspace: Path
    temporary: Path
    """RUNNER_TEMP."""
    environment: Mapping[str, str]
    github: Mapping[str, Any]
    """The context of that name."""
    inputs: dict[str, str]
    steps: dict[str, Step] = field(default_factory=dict[str, Step])

    def evaluate(self, expression: str) -> Any:
        """An expression of contexts, strings, `==`, `!=`, `&&` and `||`."""

        def python(found: re.Match[str]) -> str:
            return f"get({found[1]!r})" if found[1] else found[0]

        text = _NAME.sub(python, _STATUS.sub("True", expression)).replace("&&", " and ").replace("||", " or ")
        return eval(text.strip(), {"get": self._get})

    def _get(self, path: str) -> Any:
        context, *names = path.split(".")
        value: Any = {"inputs": self.inputs, "github": self.github, "steps": self._steps()}[context]
        for name in names:
            value = value.get(name, "") if isinstance(value, Mapping) else ""
        return value

    def _steps(self) -> dict[str, Any]:
        return {name: {"outcome": step.outcome, "outputs": step.outputs} for name, step in self.steps.items()}

    def fill(self, text: str) -> str:
        """A text with its expressions evaluated."""
        return EXPRESSION.sub(lambda found: str(self.evaluate(found[1])), text)

    def run(self, *, instead: Mapping[str, Step]) -> dict[str, str]:
        """Runs the action's steps, save those by whose name another has been at work; returns the outputs."""
        for name, given in ACTION["inputs"].items():
            self.inputs.setdefault(name, self.fill(given["default"]))
        failed = False
        for step in ACTION["runs"]["steps"]:
            name, condition = step["name"], step.get("if", "success()")
            wanted = bool(self.evaluate(condition)) and (not failed or "always()" in condition)
            if not wanted:
                ended = Step("skipped")
            elif name in instead:
                ended = instead[name]
            else:
                ended = self._run(step)
            failed = failed or ended.outcome == "failure"
            self.steps[step.get("id", name)] = ended
        return {name: self.fill(output["value"]) for name, output in ACTION["outputs"].items()}

    def _run(self, step: Any) -> Step:
        script, outputs = self.temporary / "script.sh", self.temporary / "outputs"
        script.write_text(step["run"])
        outputs.write_text("")
        done = subprocess.run(
            [*SHELL, str(script)],
            cwd=self.workspace / self.fill(step.get("working-directory", ".")),
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "RUNNER_TEMP": str(self.temporary),
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_OUTPUT": str(outputs),
                **self.environment,
                **{name: self.fill(value) for name, value in step.get("env", {}).items()},
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        said = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return Step("failure" if done.returncode else "success", said, done.stdout)
