"""The ignore file's rules: as documented, and as the Docker SDK applies them."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker.utils.build import PatternMatcher, exclude_paths
from hypothesis import given
from hypothesis import strategies as st

from branchline import dockerignore
from branchline.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        pytest.param("*/temp*", ["a/temp", "a/temporary.txt", "a/temp/x"], ["temp", "a/b/temp"], id="one level down"),
        pytest.param("*/*/temp*", ["a/b/temporary.txt"], ["a/temp", "temp"], id="two levels down"),
        pytest.param("temp?", ["tempa", "tempb/x"], ["temp", "tempab", "a/tempa"], id="one character"),
        pytest.param("temp?x", [], ["temp/x"], id="a question mark stops at a slash"),
        pytest.param("foo/bar", ["foo/bar", "foo/bar/x"], ["bar", "a/foo/bar"], id="the root is the root"),
        pytest.param("/foo/bar", ["foo/bar"], ["a/foo/bar"], id="a leading slash changes nothing"),
        pytest.param("foo/", ["foo", "foo/x/y"], ["food"], id="a trailing slash changes nothing"),
        pytest.param("./a//b/../c/", ["a/c"], ["a/b", "a"], id="cleaned as a path"),
        pytest.param("/../foo", ["foo"], [], id="nothing is above the root"),
        pytest.param("../foo", [], ["foo"], id="nothing outside"),
        pytest.param("**/*.go", ["x.go", "a/x.go", "a/b/x.go"], ["x.goo"], id="any number of directories"),
        pytest.param("**", ["a", "a/b", ".git"], [], id="everything"),
        pytest.param("a/**", ["a/b", "a/b/c"], ["a", "ab"], id="all below, not the directory"),
        pytest.param("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a/bz", "az"], id="directories between"),
        pytest.param("**/dir/**", ["dir/x", "a/dir/x"], ["dir", "a/dir"], id="below a directory anywhere"),
        pytest.param("**/node_modules", ["node_modules/x", "a/node_modules/b/c"], ["a/node_modules_"], id="anywhere"),
        pytest.param("**.log", ["a.log", "a/b.log", ".log"], ["a.logs"], id="a path that ends so"),
        pytest.param("*.md\n!README.md", ["a.md"], ["README.md", "b/a.md"], id="an exception"),
        pytest.param(
            "*.md\n!README*.md\nREADME-secret.md", ["README-secret.md"], ["README-a.md"], id="the last match decides"
        ),
        pytest.param("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README-secret.md"], id="also an exception"),
        pytest.param("*\n!src\nsrc/*.pyc", ["a", "b/c", "src/x.pyc"], ["src", "src/a", "src/d/x.pyc"], id="all but"),
        pytest.param("dir\n!dir/keep", ["dir", "dir/a"], ["dir/keep", "dir/keep/x"], id="taken back from a directory"),
        pytest.param("a\n! /a/b/", ["a/c"], ["a/b"], id="an exception is cleaned too"),
        pytest.param("# a\n\n   \n\tb  \r\n", ["b"], ["a", "# a"], id="comments, blank lines, blanks around"),
        pytest.param(" #a", ["#a"], ["a"], id="a comment begins in the first column"),
        pytest.param("\ufeffa", ["a"], [], id="a byte order mark"),
        pytest.param(".\n/\n", [], ["a", "a/b"], id="the root itself is never ignored"),
        pytest.param("[a-c]x[^0-9]", ["axz", "bx/"], ["dxz", "ax1"], id="sets of characters"),
        pytest.param("[!a]", ["!", "a"], ["b"], id="only ^ negates a set"),
        pytest.param(r"\*\[\]\\[\]\-]", ["*[]\\]", "*[]\\-"], ["x[]\\]"], id="a backslash"),
        pytest.param("a.b+(c)|{d}$^", ["a.b+(c)|{d}$^"], ["aXb+(c)|{d}$^"], id="characters that mean themselves"),
        pytest.param("é*", ["éa", "é\udcff"], ["e"], id="names that are not ASCII, or not UTF-8"),
        pytest.param("", [], ["a"], id="an empty file"),
    ],
)
def test_patterns_match_as_documented(text: str, ignored: list[str], kept: list[str]) -> None:
    rules = dockerignore.parse(text)
    assert [path for path in ignored if not rules.ignores(path)] == []
    assert [path for path in kept if rules.ignores(path)] == []


@pytest.mark.parametrize("line", ["[", "[]", "[]a]", "[a", "[^]", "[c-a]", "[a-]", "[-a]", "a\\", "!", "!  ", "[\\"])
def test_a_wrong_pattern_is_named_with_its_line(line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^app/\.dockerignore:3: ") as caught:
        dockerignore.parse(f"# first\n\n{line}\n", "app/.dockerignore")
    assert repr(line.strip()) in caught.value.message
    assert caught.value.remedy


_names = st.sampled_from(["a", "b", "ab", "c.d", "é", "Dockerfile"])
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join)
_segments = st.sampled_from(["a", "b", "ab", "c.d", "é", "*", "a*", "*b", "?", "a?", "[ab]", ".", ".."])
_patterns = st.builds(
    lambda exception, lead, segments, trail: exception + lead + "/".join(segments) + trail,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(_segments, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)


@given(st.lists(_patterns, max_size=6), _paths)
def test_decides_as_the_docker_sdk_does(patterns: list[str], path: str) -> None:
    # Without `**`, for which the SDK looks at one of the parent directories only; and where a pattern leads out of the
    # root, the SDK drops the dots.
    if any(line.lstrip("!/").startswith("..") or "/.." in line for line in patterns):
        return
    matched = PatternMatcher(patterns).matches(path)  # pyright: ignore[reportArgumentType] - the stub has it wrong
    assert dockerignore.parse("\n".join(patterns)).ignores(path) == matched


@pytest.mark.parametrize(
    "patterns",
    [
        ["**/cache", "**/*.pyc"],
        ["**/b/**"],
        ["a/**/c"],
        ["**", "!a/b"],
        ["*", "!a/**"],
        ["a/*", "!a/b/c", "**/*.txt"],
        ["**/a"],
    ],
    ids=" ".join,
)
def test_keeps_the_files_that_the_docker_sdk_sends(tmp_path: Path, patterns: list[str]) -> None:
    paths = ["a/b/c/d.txt", "a/b/c/e", "a/c/f.pyc", "b/a/cache/x", "b/c", "cache/y", "z.txt", "a/x", "Dockerfile"]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    rules = dockerignore.parse("\n".join([*patterns, "!Dockerfile", "!.dockerignore"]))
    sent = {path for path in exclude_paths(str(tmp_path), list(patterns)) if (tmp_path / path).is_file()}
    assert {path for path in paths if not rules.ignores(path)} == sent
