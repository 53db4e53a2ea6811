"""From branches to slugs, hosts and resource names."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from branchline import naming
from branchline.errors import ConfigurationError

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, section 2.1
# From Docker's reference: containers, volumes and networks; an image's domain and path components; a tag.
DOCKER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
IMAGE_DOMAIN = re.compile(
    r"([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(\.([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
)
IMAGE_COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")


def is_legal_in_git(branch: str) -> bool:
    """The rules of git-check-ref-format(1) that matter for a branch."""
    return (
        bool(branch)
        and branch != "@"
        and not branch.startswith(("-", "/"))
        and not branch.endswith(("/", "."))
        and not re.search(r"\.\.|@\{|//|[\x00-\x20\x7f~^:?*\[\\]", branch)
        and not any(part.startswith(".") or part.endswith(".lock") for part in branch.split("/"))
    )


def non_utf8(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


words = st.sampled_from(
    [
        "main",
        "feature",
        "fix",
        "Fix",
        "login",
        "LOGIN",
        "é",
        "e\u0301",
        "ß",
        "ss",
        "ﬁ",
        "fi",
        "日本",
        "🚀",
        "👩‍💻",
        "1",
        "07",
        "x" * 40,
    ]
)
joints = st.sampled_from(["/", "-", "--", "_", ".", "+", "#", "@", "", "'", ",", "\u2013"])
composed = st.builds(
    lambda first, rest: first + "".join(joint + word for joint, word in rest),
    words,
    st.lists(st.tuples(joints, words), max_size=6),
)
branches = st.one_of(
    composed,
    st.text(min_size=1, max_size=250),
    st.text(alphabet="abAB01-_/.", min_size=1, max_size=40),
    st.binary(min_size=1, max_size=30).map(non_utf8),
    composed.map(naming.slug),
    composed.map(lambda branch: naming.slug(naming.slug(branch))),
).filter(is_legal_in_git)
labels = st.lists(st.text("abcxyz019", min_size=1, max_size=5), min_size=1, max_size=4).map("-".join)
projects = labels.filter(lambda name: len(name) <= naming.PROJECT_LENGTH)
platforms = labels.filter(lambda name: len(name) <= naming.PLATFORM_LENGTH)


def variants(branch: str) -> set[str]:
    """Names that a person could take for the same branch, or that a careless mapping would."""
    spellings = {
        branch,
        branch.upper(),
        branch.lower(),
        branch.title(),
        unicodedata.normalize("NFC", branch),
        unicodedata.normalize("NFD", branch),
        unicodedata.normalize("NFKD", branch),
        f"{branch}-",
        f"{branch}.1",
        f"{branch}🚀",
        naming.slug(branch),
        naming.slug(naming.slug(branch)),
    }
    spellings |= {branch.replace(old, new) for old in "/-_." for new in ("/", "-", "_", ".", "--", "")}
    return {spelling for spelling in spellings if is_legal_in_git(spelling)}


@given(branches)
@example("x" * 250)
@example("-".join("x" * 125))
@example("/".join(["日本語"] * 62))
@example("a" * 27 + "--b")
@example("1.2.3")
@example("a--b")
def test_a_slug_is_a_dns_label_without_double_hyphens(branch: str) -> None:
    slug = naming.slug(branch)
    assert DNS_LABEL.fullmatch(slug)
    assert len(slug) <= naming.SLUG_LENGTH == 36
    assert "--" not in slug
    assert naming.slug(branch) == slug


@given(branches)
@example("feature/login")
@example("main")
@example("x" * 36)
def test_branches_that_look_alike_have_slugs_of_their_own(branch: str) -> None:
    names = variants(branch)
    assert len({naming.slug(name) for name in names}) == len(names)


@given(st.lists(branches, min_size=2, max_size=30, unique=True))
def test_distinct_branches_have_distinct_slugs(names: list[str]) -> None:
    assert len({naming.slug(name) for name in names}) == len(names)


@given(branches, branches)
def test_a_branch_named_like_anothers_slug_gets_another_slug(branch: str, other: str) -> None:
    slug = naming.slug(branch)
    assume(slug != branch)
    assert naming.slug(slug) != slug
    assert naming.slug(other) != slug or other == branch


def test_many_branches_of_one_long_prefix_stay_distinct() -> None:
    names = [f"dependabot/npm_and_yarn/frontend/some-package-{number}.0.0" for number in range(2000)]
    assert len({naming.slug(name) for name in names}) == len(names)


@pytest.mark.parametrize("branch", ["main", "feature-login", "0", "v10", "deadbee", "abc-123456", "x" * 36])
def test_a_branch_that_reads_like_a_slug_keeps_its_name(branch: str) -> None:
    assert naming.slug(branch) == branch


GOLDEN = {
    "main": "main",
    "feature-login": "feature-login",
    "123": "123",
    "feature/login": "feature-login-df7c7ae",
    "Feature/Login": "feature-login-1ce2770",
    "feature_login": "feature-login-eda9645",
    "release/2024.01": "release-2024-01-23cf20c",
    "dependabot/npm_and_yarn/lodash-4.17.21": "dependabot-npm-and-yarn-loda-b7180b7",
    "a--b": "a-b-90827a2",
    "a-": "a-9baf440",
    "qa": "qa-3f3ef78",
    "xn": "xn-ce48278",
    "fix-abcdef0": "fix-abcdef0-46d5cf9",
    "main-eb814be": "main-eb814be-07afcbc",
    "x" * 36: "x" * 36,
    "x" * 37: "xxxxxxxxxxxxxxxxxxxxxxxxxxxx-6ee29e8",
    "x" * 250: "xxxxxxxxxxxxxxxxxxxxxxxxxxxx-086d4a1",
    "h\u00e9llo": "hello-3c48591",
    "he\u0301llo": "hello-d4628fd",
    "日本語": "branch-77710ae",
    "feat/🚀-rocket": "feat-rocket-bee40ac",
    "caf\udce9": "caf-0dabcef",
    "\udcff\udcfe": "branch-8db8cb0",
}


@pytest.mark.parametrize("branch", GOLDEN)
def test_the_mapping_never_changes(branch: str) -> None:
    """A changed slug would orphan running environments: never edit this table, only add to it."""
    assert naming.slug(branch) == GOLDEN[branch]


@given(branches, projects)
@example("qa", "shop")
@example("xn", "shop")
@example("x" * 36, "y" * 25)
def test_a_hosts_first_label_is_one_dns_label_that_can_be_read_back(branch: str, project: str) -> None:
    slug = naming.slug(branch)
    host = naming.host("{slug}--{project}", slug, project, "preview.example.com")
    label, _, domain = host.partition(".")
    assert domain == "preview.example.com"
    assert DNS_LABEL.fullmatch(label)
    assert label.split("--") == [slug, project]
    assert label[2:4] != "--", "reserved for internationalised names, RFC 5890, section 2.3.1"


def test_a_platform_of_one_project_may_use_the_slug_alone() -> None:
    assert naming.host("{slug}", "main", "shop", "shop.example.com") == "main.shop.example.com"


@pytest.mark.parametrize(
    ("text", "project"),
    [
        ("shop", "shop"),
        ("Shop.git", "shop"),
        ("My Shop", "my-shop"),
        ("shop_api.v2", "shop-api-v2"),
        ("Café", "cafe"),
        ("a" * 25, "a" * 25),
        ("a" * 26, "aaaaaaaaaaaaaaaaa-9976d54"),
        ("a" * 26 + ".git", "aaaaaaaaaaaaaaaaa-9976d54"),
        ("the-very-long-name-of-a-shop", "the-very-long-nam-faeee29"),
        ("商店", "project-61f96c6"),
        (".git", "project-e3b0c44"),
    ],
)
def test_a_project_is_named_after_its_repository(text: str, project: str) -> None:
    assert naming.project(text) == project


@given(st.text(max_size=60))
def test_every_project_name_is_valid_and_stays_as_it_is(text: str) -> None:
    project = naming.project(text)
    assert naming.check_name(project, "project", naming.PROJECT_LENGTH) == project
    assert naming.project(project) == project
    assert naming.project(f"{text}.git") == naming.project(text) or text.endswith(".git")


@given(labels)
def test_a_valid_name_passes_unchanged(name: str) -> None:
    assert naming.check_name(name, "platform", len(name)) == name


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Shop", "'shop' would do"),
        ("shop--api", "'shop-api' would do"),
        ("-shop", "'shop' would do"),
        ("shop\n", "'shop' would do"),
        ("shop.api", "'shop-api' would do"),
        ("a-very-long-name-for-a-platform", "'a-very-long-name-for' would do"),
        ("this-name-is-cut-at-a-hyphen", "'this-name-is-cut-at' would do"),
        ("商店", "choose another name"),
        ("", "choose another name"),
    ],
)
def test_an_invalid_name_is_refused_with_one_that_would_do(name: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        naming.check_name(name, "platform", 20)
    assert caught.value.message.startswith(f"{name!r} can't be the platform: ")
    assert "at most 20 characters" in caught.value.message
    assert caught.value.remedy == remedy
    if "would do" in remedy:
        suggestion = remedy.split("'")[1]
        assert naming.check_name(suggestion, "platform", 20) == suggestion


@given(st.tuples(platforms, projects, branches), st.tuples(platforms, projects, branches))
def test_resource_names_are_unambiguous(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    names = [naming.resource(platform, project, naming.slug(branch)) for platform, project, branch in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert names[0].split(".") == ["branchline", one[0], one[1], naming.slug(one[2])]


@given(platforms, projects, branches)
@example("p" * 20, "q" * 25, "x" * 250)
def test_names_are_legal_in_docker(platform: str, project: str, branch: str) -> None:
    resource = naming.resource(platform, project, naming.slug(branch))
    assert DOCKER_NAME.fullmatch(resource)
    assert len(resource) <= 94
    domain, _, path = naming.image_repository(platform, project).partition("/")
    assert IMAGE_DOMAIN.fullmatch(domain)
    assert IMAGE_COMPONENT.fullmatch(path)


@given(platforms, projects, platforms, projects)
def test_image_repositories_are_unambiguous(platform: str, project: str, other: str, other_project: str) -> None:
    same = naming.image_repository(platform, project) == naming.image_repository(other, other_project)
    assert same == ((platform, project) == (other, other_project))


@given(st.text(st.characters()), st.text(st.characters()))
@example("\ud800", "\udfff")
@example("é", "\udcc3\udca9")
def test_any_text_has_a_digest_of_its_own(one: str, other: str) -> None:
    assert (naming.digest(one, 64) == naming.digest(other, 64)) == (one == other)
    assert re.fullmatch(r"[0-9a-f]{7}", naming.digest(one, 7))


@pytest.mark.parametrize(
    "url",
    [
        "https://Forge.example/team/shop.git",
        "https://forge.example/team/shop",
        "ssh://git@forge.example:22/team/shop.git",
        "git@forge.example:team/shop.git",
        "https://user@forge.example/team/shop/",
    ],
)
def test_one_repository_has_one_key_however_it_is_reached(url: str) -> None:
    assert naming.repository_key(url) == "forge.example/team/shop"


def test_a_repository_by_a_forges_other_ssh_port_is_the_same() -> None:
    for host in ("github.com", "gitlab.com", "bitbucket.org"):
        ssh = "ssh" if host == "github.com" else "altssh"
        over_443 = f"ssh://git@{ssh}.{host}:443/team/shop.git"
        assert naming.repository_key(over_443) == naming.repository_key(f"https://{host}/team/shop")


def test_a_team_of_digits_is_no_port() -> None:
    assert naming.repository_key("git@forge.example:2023/shop.git") == "forge.example/2023/shop"
    assert naming.repository_key("ssh://git@forge.example:2023/shop.git") == "forge.example/shop"


def test_paths_and_file_urls_of_one_repository_have_one_key() -> None:
    assert naming.repository_key("/srv/git/shop.git") == naming.repository_key("file:///srv/git/shop.git")
    assert naming.repository_key("/srv/git/shop.git") != naming.repository_key("/srv/git/other.git")
