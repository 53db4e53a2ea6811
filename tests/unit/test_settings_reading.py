"""branchline.toml, platform.toml and environment variables: what is read, and how mistakes are reported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from branchline.errors import ConfigurationError
from branchline.settings.application import Application, Branches, branch_selected
from branchline.settings.limits import check_limits, memory_bytes
from branchline.settings.platform import PlatformSettings
from branchline.settings.reading import read_application, read_platform
from branchline.settings.variables import CONTAINER_VARIABLES, FILE_VARIABLE, variable_names


def errors(text: str) -> list[str]:
    """The lines of the error that the text of a branchline.toml leads to."""
    with pytest.raises(ConfigurationError) as raised:
        read_application(text, "branchline.toml")
    assert raised.value.exit_code == 2
    assert raised.value.remedy
    return raised.value.message.splitlines()


def platform_errors(text: str, directory: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """The lines of the error that a platform.toml and the environment variables lead to, without the directory."""
    file = directory / "platform.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        read_platform(file, environ or {})
    return raised.value.message.replace(f"{directory}/", "").splitlines()


def environment_errors(**variables: str) -> list[str]:
    """The lines of the error that environment variables lead to."""
    with pytest.raises(ConfigurationError) as raised:
        read_platform(Path("/dev/null"), {f"BRANCHLINE_{name}": value for name, value in variables.items()})
    return raised.value.message.splitlines()


# What is read


@pytest.mark.parametrize("text", [None, "", "# nothing is set\n", "\ufeff", "[health]\n[env]\n"])
def test_without_settings_all_have_their_defaults(text: str | None) -> None:
    assert read_application(text, "branchline.toml") == Application()


def test_a_file_sets_what_it_names_and_leaves_the_rest() -> None:
    read = read_application(
        'port = 80\nenv.A = "1"\n[health]\ntimeout = 5\n[limits]\nmemory = "2g"\n', "branchline.toml"
    )
    assert (read.port, read.env, read.health.timeout, read.limits.memory) == (80, {"A": "1"}, 5.0, "2g")
    assert read.health.request_timeout == Application().health.request_timeout


# How mistakes are reported


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() -> None:
    text = "port = 80\n\n[health]\n# how long\n'timout' = 3\n"
    assert errors(text) == ["branchline.toml:5: health.timout: unknown key; did you mean health.timeout?"]


def test_a_value_of_the_wrong_type_says_what_was_expected() -> None:
    assert errors('# the port\n\nport = "80a"') == [
        'branchline.toml:3: port: expected a whole number from 1 to 65535, got "80a"'
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("memory = 1", "limits.memory"),
        ("health.tiemout = 1", "health.timeout"),
        ("dockerfile = 1", "build.dockerfile"),
        ("timeout = 1", "health.timeout"),
        ("Port = 1", "port"),
        ("env-files = 1", "env_files"),
        ("build.env_file = 1", "env_files"),
        ("[helth]\ntimeout = 1", "health"),
        ("[limit]", "limits"),
    ],
)
def test_the_nearest_key_is_found_across_tables(key: str, meant: str) -> None:
    (line,) = errors(key)
    assert line.endswith(f"unknown key; did you mean {meant}?")


def test_a_key_like_no_other_gets_no_suggestion() -> None:
    assert errors("zzz = 1") == ["branchline.toml:1: zzz: unknown key"]


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = 'project = "My Shop"\nport = 0\n\n[health]\ntimout = 1\ntimeout = -1\n[limits]\nmemory = "0m"\n'
    found = errors(text)
    assert [line.split(": ")[:2] for line in found] == [
        ["branchline.toml:1", "project"],
        ["branchline.toml:2", "port"],
        ["branchline.toml:5", "health.timout"],
        ["branchline.toml:6", "health.timeout"],
        ["branchline.toml:8", "limits.memory"],
    ]
    assert "'my-shop' would do" in found[0]


def test_a_key_that_another_table_has_too_is_found_on_its_own_line() -> None:
    text = "[build.args]\ntimeout = '1'\n[health]\nrequest_timeout = 1\ntimeout = 'x'\n"
    assert errors(text) == ['branchline.toml:5: health.timeout: expected a number above 0 and up to 3600, got "x"']


def test_the_name_of_the_file_is_the_callers() -> None:
    with pytest.raises(ConfigurationError, match=r"^branchline\.toml at 1a2b3c4:2: port: expected"):
        read_application("\nport = 0", "branchline.toml at 1a2b3c4")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("port = 1\nport = 2\n", "branchline.toml:2: not valid TOML: cannot overwrite a value"),
        ("\ndomain = example.com\n", "branchline.toml:2: not valid TOML: invalid value"),
        ("port", "branchline.toml: not valid TOML: expected '='"),
        ('env_files = [\n"a",\n', "branchline.toml: not valid TOML:"),
        ("port = " + "1" * 5000, "branchline.toml: not valid TOML: a number is too long"),
        ("port = " + "[" * 5000, "branchline.toml: not valid TOML: it is nested too deeply"),
    ],
)
def test_a_file_that_is_not_toml_says_where(text: str, start: str) -> None:
    (line,) = errors(text)
    assert line.startswith(start)


@pytest.mark.parametrize(
    "text",
    [
        'env = "hunter2-secret"',
        'env = ["hunter2-secret"]',
        'env.KEY = ["hunter2-secret"]',
        'env.KEY = {a = "hunter2-secret"}',
        'env.KEY = "hunter2-secret\\u0000"',
        'env."A B" = "hunter2-secret"',
        'build.args.KEY = "hunter2-secret\\u0000"',
        "env.KEY = 4711230815",
        '[env]\nKEY = "hunter2-secret\n',
        "[env]\nKEY = hunter2-secret\n",
        '[enviroment]\nKEY = "hunter2-secret"\n',
    ],
)
def test_values_that_may_be_secret_are_never_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_application(text, "branchline.toml")
    shown = f"{raised.value} {raised.value.remedy} {raised.value.details}"
    assert "hunter2" not in shown
    assert "4711230815" not in shown


def test_a_file_made_to_keep_the_reader_busy_is_refused() -> None:
    assert errors("port = 1\n" + "a." * 50_000 + "a = 1") == ["branchline.toml:2: more than 500 dots in one line"]
    assert errors("#" * 300_000) == ["branchline.toml: larger than 256 KiB"]
    found = errors("\n".join(f"k{number} = 1" for number in range(20_000)))
    assert found[0] == "branchline.toml:1: k0: unknown key"
    assert found[50:] == ["branchline.toml: and 19950 more"]


def test_long_and_unprintable_values_are_cut_and_escaped() -> None:
    (line,) = errors(f'domain = "\\u001b[31m{"x" * 1000}"')
    assert "\x1b" not in line
    assert "\\u001b[31mxxx" in line
    assert len(line) < 400


IMPOSSIBLE = [
    ("port = 0", "port"),
    ("port = 65536", "port"),
    ("port = true", "port"),
    ("port = 80.0", "port"),
    ("health.timeout = -1", "health.timeout"),
    ("health.timeout = 0", "health.timeout"),
    ("health.timeout = nan", "health.timeout"),
    ("health.timeout = inf", "health.timeout"),
    ("health.timeout = 1979-05-27", "health.timeout"),
    ("health.path = 'health'", "health.path"),
    ("health.path = '/a b'", "health.path"),
    ('health.path = "/\\r\\nHost: x"', "health.path"),
    ("deploy.grace = -0.1", "deploy.grace"),
    ("deploy.stop_timeout = 1.5", "deploy.stop_timeout"),
    ("limits.memory = '0m'", "limits.memory"),
    ("limits.memory = '5m'", "limits.memory"),
    ("limits.memory = '6143k'", "limits.memory"),
    ("limits.memory = '512'", "limits.memory"),
    ("limits.memory = '512MB'", "limits.memory"),
    ("limits.memory = '9999999999g'", "limits.memory"),
    ("limits.memory = 512", "limits.memory"),
    ("limits.cpus = 0", "limits.cpus"),
    ("limits.cpus = 0.001", "limits.cpus"),
    ("limits.pids = 0", "limits.pids"),
    ("build.context = '/srv'", "build.context"),
    ("build.context = '..'", "build.context"),
    ("build.context = 'a/../..'", "build.context"),
    ("build.context = ''", "build.context"),
    ("build.dockerfile = '../Dockerfile'", "build.dockerfile"),
    ("build.dockerfile = '/Dockerfile'", "build.dockerfile"),
    ('build.target = "a\\u0000"', "build.target"),
    ("build.args.1A = ''", "build.args.1A"),
    ("branches.include = []", "branches.include"),
    ("branches.include = ['main', '']", "branches.include[1]"),
    ("branches.exclude = ['']", "branches.exclude[0]"),
    ("branches.exclude = 'main'", "branches.exclude"),
    ("domain = ''", "domain"),
    ("domain = 'Example.com'", "domain"),
    ("domain = 'bücher.example'", "domain"),
    ("domain = 'a..b'", "domain"),
    ("domain = '-a.example'", "domain"),
    ("domain = 'a_b.example'", "domain"),
    ("domain = 'example.com.'", "domain"),
    ("domain = '*.example.com'", "domain"),
    ("domain = '192.0.2.1'", "domain"),
    ('domain = "example.com\\n"', "domain"),
    (f"domain = '{'a' * 64}.example'", "domain"),
    (f"domain = '{'.'.join(['a' * 37] * 5)}'", None),
    (f"domain = '{'.'.join(['a' * 37] * 5)}a'", "domain"),
    ("project = 'a--b'", "project"),
    (f"project = '{'a' * 26}'", "project"),
    ("project = ''", "project"),
    ("env.1A = ''", "env.1A"),
    ("env.A-B = ''", "env.A-B"),
    ("env.'A=B' = ''", 'env."A=B"'),
    ("env.'' = ''", 'env.""'),
    ('env."A\\n" = ""', 'env."A\\n"'),
    ("env.DEBUG = 1", "env.DEBUG"),
    ("env.DEBUG = true", "env.DEBUG"),
    ('env.A = "\\u0000"', "env.A"),
    ("env_files = ['../.env']", "env_files[0]"),
    ("env_files = ['/etc/passwd']", "env_files[0]"),
    ("env_files = '.env'", "env_files"),
    ("health = 1", "health"),
    ("[[health]]", "health"),
    ("port.number = 80", "port"),
]


@pytest.mark.parametrize(("text", "key"), IMPOSSIBLE)
def test_impossible_values_are_refused_by_the_key_that_has_them(text: str, key: str | None) -> None:
    if key is None:  # the longest domain that leaves room for a host's label
        assert len(read_application(text, "branchline.toml").domain or "") == 253 - 63 - 1
        return
    (line,) = errors(text)
    assert line.startswith(f"branchline.toml:1: {key}: ")
    assert "expected" in line or "can't be" in line


toml_values = st.recursive(
    st.none().map(lambda _: "1979-05-27T07:32:00Z")
    | st.booleans().map(lambda value: str(value).lower())
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'"), max_size=8).map("'{}'".format),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["a", "b"]), inner).map(
            lambda items: "{" + ", ".join(f"{name} = {value}" for name, value in items.items()) + "}"
        )
    ),
    max_leaves=5,
)
known_keys = st.sampled_from([".".join(path) for path in variable_names(Application).values()])
tables = st.sampled_from(["build", "health", "branches", "limits", "deploy", "env"])
documents = st.lists(
    st.tuples(known_keys | tables | st.just("'a b'.c"), toml_values), unique_by=lambda line: line[0]
).map(lambda lines: "\n".join(f"{key} = {value}" for key, value in lines))


@settings(deadline=None)  # the first error loads modules
@given(st.text() | documents | st.text(alphabet="abc.='\"[]{},#\n \\1"))
@example("a.b.c.d.e=1\n" * 2)
@example("port." + "a." * 400 + "a=1")
@example("limits.cpus = 1" + "0" * 4000)
@example('"\\u007f" = 1')
@example("[[env]]\n[[env]]\na=1")
def test_any_text_is_read_or_refused_with_a_clear_error(text: str) -> None:
    try:
        assert isinstance(read_application(text, "branchline.toml"), Application)
    except ConfigurationError as error:
        assert all(line.startswith("branchline.toml") for line in error.message.split("\n"))


# The operator's file and environment variables


def test_environment_variables_win_over_the_file_which_wins_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "platform.toml"
    file.write_text('domain = "file.example"\n[router]\nhttp_port = 81\nhttps_port = 444\n[limits]\nmemory = "1g"\n')
    environ = {"BRANCHLINE_ROUTER_HTTP_PORT": "82", "BRANCHLINE_LIMITS_CPUS": "1.5", "BRANCHLINE_DOCKER_HOST": ""}
    read = read_platform(file, environ)
    assert (read.domain, read.router.http_port, read.router.https_port) == ("file.example", 82, 444)
    assert (read.limits.memory, read.limits.cpus, read.parallel) == ("1g", 1.5, PlatformSettings().parallel)


def test_every_key_has_its_own_variable() -> None:
    names = variable_names()
    assert len(set(names.values())) == len(names)
    assert names["BRANCHLINE_ROUTER_HTTP_PORT"] == ("router", "http_port")
    assert not names.keys() & {FILE_VARIABLE, *CONTAINER_VARIABLES}


def test_the_first_file_that_exists_is_read(tmp_path: Path) -> None:
    config, home, named = tmp_path / "config", tmp_path / "home", tmp_path / "named.toml"
    (home / ".config" / "branchline").mkdir(parents=True)
    (home / ".config" / "branchline" / "platform.toml").write_text('platform = "home"')
    environ = {"HOME": str(home)}
    assert read_platform(None, environ).platform == "home"
    (config / "branchline").mkdir(parents=True)
    (config / "branchline" / "platform.toml").write_text('platform = "config"')
    environ["XDG_CONFIG_HOME"] = str(config)
    assert read_platform(None, environ).platform == "config"
    named.write_text('platform = "named"')
    environ["BRANCHLINE_CONFIG"] = str(named)
    assert read_platform(None, environ).platform == "named"
    other = tmp_path / "other.toml"
    other.write_text('platform = "argument"')
    assert read_platform(other, environ).platform == "argument"


def test_a_relative_xdg_directory_is_ignored_as_its_specification_says(tmp_path: Path) -> None:
    directory = tmp_path / ".config" / "branchline"
    directory.mkdir(parents=True)
    (directory / "platform.toml").write_text('platform = "home"')
    assert read_platform(None, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "elsewhere"}).platform == "home"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: no such file"):
        read_platform(None, {"BRANCHLINE_CONFIG": str(tmp_path / "none.toml")})


def test_a_file_that_cannot_be_read_is_an_error_rather_than_no_file(tmp_path: Path) -> None:
    (tmp_path / "branchline" / "platform.toml").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="can't be read: Is a directory"):
        read_platform(None, {"XDG_CONFIG_HOME": str(tmp_path)})


def test_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    file = tmp_path / "platform.toml"
    file.write_bytes(b'domain = "\xff"')
    with pytest.raises(ConfigurationError, match="not UTF-8 text"):
        read_platform(file, {})


def test_a_wrong_value_names_the_variable_that_it_came_from() -> None:
    assert environment_errors(ROUTER_HTTP_PORT="80a", PARALLEL="") == [
        'BRANCHLINE_ROUTER_HTTP_PORT: expected a whole number from 1 to 65535, got "80a"',
        'BRANCHLINE_PARALLEL: expected a whole number from 1 to 256, got ""',
    ]


def test_an_unknown_variable_is_named_with_the_nearest_right_one() -> None:
    assert environment_errors(DOMAN="example.com", ROUTER_PORT="80", XYZZY="1") == [
        "BRANCHLINE_DOMAN: unknown variable; did you mean BRANCHLINE_DOMAIN?",
        "BRANCHLINE_ROUTER_PORT: unknown variable; did you mean BRANCHLINE_ROUTER_HTTP_PORT?",
        "BRANCHLINE_XYZZY: unknown variable",
    ]


def test_the_variables_of_an_environment_are_let_pass() -> None:
    environ = dict.fromkeys(CONTAINER_VARIABLES, "anything") | {"BRANCHLINE_CONFIG": "/dev/null"}
    assert read_platform(None, environ) == PlatformSettings()


def test_a_variable_does_not_hide_that_its_table_is_wrong_in_the_file(tmp_path: Path) -> None:
    assert platform_errors("\nrouter = 1", tmp_path, {"BRANCHLINE_ROUTER_HTTP_PORT": "80"}) == [
        "platform.toml:2: router: expected a table, got 1"
    ]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('hosts = "{branch}"', 'hosts: expected "{slug}" or "{slug}--{project}", got'),
        ('router.https = "on"', 'router.https: expected "acme", "internal" or "off", got "on"'),
        ('router.https = "acme"', "router.https: no public authority certifies the domain localhost"),
        (
            'router = {https = "internal", http_port = 443, https_port = 443}',
            "router.https_port: expected another port",
        ),
        ('router.bind = "eth0"', "router.bind: expected an IP address"),
        ('router.acme_directory = "acme.example.com"', "router.acme_directory: expected a URL"),
        ('platform = "a.b"', "platform: 'a.b' can't be the platform's name"),
        (f'platform = "{"a" * 21}"', "platform: "),
        ('docker.subnets = "10.0.0.0/25"', "docker.subnets: expected a private IPv4 range of a /24 or larger"),
        ('docker.subnets = "8.8.0.0/16"', "docker.subnets: expected a private IPv4 range"),
        ('docker.subnets = "fd00::/8"', "docker.subnets: expected a private IPv4 range"),
        ('docker.subnets = "10.0.0.1/16"', "docker.subnets: '10.0.0.1/16' is not the start of a range; '10.0.0.0/16'"),
        ('docker.subnets = "10.0.0.0"', "docker.subnets: '10.0.0.0' is not the start of a range"),
        ("lifetime = inf", "lifetime: expected a number from 0 to"),
        ('state_dir = "state"', "state_dir: expected an absolute path"),
        ('domain = "10.0.0.1"', "domain: expected a DNS name"),
        ('limits.memory = "5m"', "limits.memory: expected memory"),
    ],
)
def test_an_impossible_platform_is_refused(text: str, start: str, tmp_path: Path) -> None:
    (line,) = platform_errors(text, tmp_path)
    assert line.startswith((f"platform.toml:1: {start}", f"platform.toml: {start}"))


@pytest.mark.parametrize(
    "text",
    [
        "router.http_port = 8443",  # nothing listens on https_port while HTTPS is off
        'router = {https = "acme", acme_directory = "https://127.0.0.1:14000/dir"}',  # that one may certify anything
        'router.bind = "::1"',
        'docker.subnets = "192.168.7.0/24"',
    ],
)
def test_unusual_but_possible_platforms_are_accepted(text: str, tmp_path: Path) -> None:
    file = tmp_path / "platform.toml"
    file.write_text(text)
    assert read_platform(file, {}) != PlatformSettings()


def test_one_mistake_is_not_reported_as_two(tmp_path: Path) -> None:
    text = '[router]\nhttps = "internal"\nhttp_port = "x"\nhttps_port = 8080\n'  # 8080 is http_port's default
    (line,) = platform_errors(text, tmp_path)
    assert line.startswith("platform.toml:3: router.http_port: expected")


variables = st.dictionaries(
    st.sampled_from([*variable_names(), "BRANCHLINE_X", "PATH"]), st.text() | st.integers().map(str), max_size=4
)


@settings(deadline=None)  # the first error loads modules
@given(variables)
@example({"BRANCHLINE_STATE_DIR": "\udcff"})
@example({"BRANCHLINE_PARALLEL": "9" * 5000})
def test_any_environment_is_read_or_refused_with_a_clear_error(environ: dict[str, str]) -> None:
    try:
        assert isinstance(read_platform(Path("/dev/null"), environ), PlatformSettings)
    except ConfigurationError as error:
        error.message.encode()
        assert all(line.startswith(("BRANCHLINE_", "/dev/null: router.https")) for line in error.message.split("\n"))


# Limits


@pytest.mark.parametrize(
    ("text", "size"),
    [("512m", 512 * 2**20), ("2g", 2 * 2**30), ("2G", 2 * 2**30), ("6144k", 6 * 2**20), ("6m", 6 * 2**20)],
)
def test_memory_is_counted_as_docker_does(text: str, size: int) -> None:
    assert memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "m", "5m", "6143k", "1.5g", "-1g", "512m\n", "\uff11g", "1 g"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no amount of memory"):
        memory_bytes(text)


def test_limits_up_to_the_operators_ceilings_are_allowed() -> None:
    application = read_application("[limits]\nmemory = '4096m'\ncpus = 4\npids = 4096", "branchline.toml")
    check_limits(application, PlatformSettings(), "branchline.toml")


def test_limits_above_the_operators_ceilings_are_refused_naming_both() -> None:
    application = read_application("[limits]\nmemory = '5g'\ncpus = 4.5", "branchline.toml")
    environ = {"BRANCHLINE_LIMITS_PIDS": "100"}
    with pytest.raises(ConfigurationError) as raised:
        check_limits(application, read_platform(Path("/dev/null"), environ), "f")
    assert raised.value.message.splitlines() == [
        "f: limits.memory: 5g is above the ceiling of 4g that the platform's limits.memory sets",
        "f: limits.cpus: 4.5 is above the ceiling of 4 that the platform's limits.cpus sets",
        "f: limits.pids: 512 (the default) is above the ceiling of 100 that the platform's limits.pids sets",
    ]


# Branches


@pytest.mark.parametrize(
    ("branch", "selected"),
    [
        ("main", True),
        ("Main", False),
        ("feature/login", True),
        ("feature/a/b", True),
        ("feature/wip-x", False),
        ("other", False),
        ("release-7", True),
        ("release-x", False),
    ],
)
def test_branches_are_selected_by_patterns_as_in_a_shell(branch: str, selected: bool) -> None:
    branches = Branches(include=["main", "feature/*", "release-[0-9]"], exclude=["*/wip-*"])
    assert branch_selected(branches, branch) is selected


def test_every_branch_is_selected_by_default() -> None:
    assert branch_selected(Branches(), "ünïcode/🚀")


# Speed


def test_reading_loads_what_only_errors_need_once_there_is_one() -> None:
    script = (
        "import sys; from branchline.settings.reading import read_application, read_platform;"
        "read_application('port = 80', 'f'); read_platform(None, {});"
        "print([name for name in ('difflib', 'dotenv', 'pydantic', 'docker', 'branchline.settings.diagnosis')"
        " if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
