"""Which code a function may reach, read from the source: more than it ever runs, so that nothing is missed.

A call of a method reaches every class's method of that name in the modules that are loaded. What is only mentioned,
such as a function that is handed on, counts as called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition = tuple[str, str]
"""A module, and the name in it; of a method, the class's before it."""


@dataclass
class CallGraph:
    """The modules of a program, by their names."""

    modules: Mapping[str, ast.Module]
    _definitions: dict[Definition, ast.stmt] = field(default_factory=dict[Definition, ast.stmt])
    _methods: dict[str, list[Definition]] = field(default_factory=dict[str, list[Definition]])

    def reached(self, module: str, function: str) -> list[ast.stmt]:
        """All functions, methods, classes and constants that this function may use, itself included."""
        for loaded in self.loaded(module):
            for name, node in _definitions(self.modules[loaded]):
                self._definitions[loaded, name] = node
                if "." in name:
                    self._methods.setdefault(name.partition(".")[2], []).append((loaded, name))
        found: dict[Definition, ast.stmt] = {}
        waiting: list[Definition] = [(module, function)]
        while waiting:
            definition = waiting.pop()
            if definition in found or definition not in self._definitions:
                continue
            found[definition] = self._definitions[definition]
            waiting += self._used(definition[0], _body(found[definition]))
        return list(found.values())

    def loaded(self, module: str) -> set[str]:
        """The modules that are loaded when this one is."""
        found, waiting = set[str](), [module]
        while waiting:
            name = waiting.pop()
            if name in self.modules and name not in found:
                found.add(name)
                waiting += [each for node in self.modules[name].body for each in _imported(node)]
        return found

    def _used(self, module: str, nodes: Iterable[ast.AST]) -> Iterator[Definition]:
        names = self._names(module)
        for node in nodes:
            match node:
                case ast.Name(id=name):
                    yield names.get(name, (module, name))
                case ast.Attribute(value=ast.Name(id=owner), attr=name) if names.get(owner, ("", "?"))[1] == "":
                    yield names[owner][0], name
                case ast.Attribute(attr=name):
                    yield from self._methods.get(name, ())
                case _:
                    pass

    def _names(self, module: str) -> dict[str, Definition]:
        """What imported names stand for; a module is a definition without a name."""
        found: dict[str, Definition] = {}
        for node in ast.walk(self.modules[module]):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    known = (whole, "") if whole in self.modules else (node.module, alias.name)
                    found[alias.asname or alias.name] = known
        return found


def _definitions(module: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    for node in module.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node
            case ast.ClassDef(name=name):
                yield name, node
                for method in node.body:
                    if isinstance(method, _FUNCTIONS):
                        yield f"{name}.{method.name}", method
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node
            case _:
                pass


def _body(node: ast.stmt) -> Iterator[ast.AST]:
    """What is in it; of a class, what runs when there is one, as its methods are reached by their names."""
    if isinstance(node, ast.ClassDef):
        parts = [part for part in node.body if not isinstance(part, _FUNCTIONS) or part.name.startswith("__")]
        for part in (*node.bases, *parts):
            yield from ast.walk(part)
    else:
        yield from ast.walk(node)


def _imported(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
