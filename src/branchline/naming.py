"""From a branch to a slug, from a slug to a host, and every resource name computed from (platform, project, slug).

The mapping must be stable for ever (a changed rule would orphan running environments), and distinct branches must get
distinct slugs. So a branch that is already a valid slug stays as it is, and any other gets a hash of its exact name as
a suffix. A host's first label is `{slug}--{project}`: one DNS label of at most 63 octets (RFC 1035, section 2.3.4), so
that one wildcard certificate serves all, and since neither part may hold `--` it can be read back.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from branchline.errors import ConfigurationError

SLUG_LENGTH = 36
PROJECT_LENGTH = 25  # 36 + len("--") + 25 = 63, the longest DNS label
PLATFORM_LENGTH = 20

_HASH_LENGTH = 7
FORKS = "pull/"
"""What the branch of a fork's environment starts with; its pull request's number follows."""

_SSH_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
"""Hosts for networks that let only port 443 out.

https://docs.github.com/en/authentication/troubleshooting-ssh/using-ssh-over-the-https-port
"""
_LABEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LOOKS_HASHED = re.compile(rf"-[0-9a-f]{{{_HASH_LENGTH}}}$")


def digest(text: str, length: int) -> str:
    """The first `length` hexadecimal digits of the text's SHA-256.

    Git allows branch names that are not UTF-8; their bytes arrive here as lone surrogates, which are encoded as such.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def _simplified(text: str) -> str:
    """Lower-case ASCII letters and digits with single hyphens between them; accents dropped; maybe empty."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")


def slug(branch: str) -> str:
    """The DNS-safe name of a branch: `[a-z0-9-]`, at most 36 characters, without `--`, stable for ever.

    A branch that reads so already keeps its name, with two exceptions that get a hash of their own. One that ends like
    a hash could be mistaken for another branch's slug. And one of two characters would put a host's `--` in the third
    and fourth place, which RFC 5890 reserves (`xn--…`): certificate authorities refuse such names.
    """
    keeps = _LABEL.fullmatch(branch) and not _LOOKS_HASHED.search(branch) and len(branch) != 2
    if keeps and len(branch) <= SLUG_LENGTH:
        return branch
    room = SLUG_LENGTH - _HASH_LENGTH - 1
    readable = _simplified(branch)[:room].strip("-") or "branch"
    return f"{readable}-{digest(branch, _HASH_LENGTH)}"


def project(text: str) -> str:
    """A valid project name from a directory's or repository's name.

    It gets a hash suffix where it had to be cut or nothing of it was left, as in a name of Chinese characters.
    """
    name = text.removesuffix(".git")
    readable = _simplified(name)
    if readable and len(readable) <= PROJECT_LENGTH:
        return readable
    readable = readable[: PROJECT_LENGTH - _HASH_LENGTH - 1].strip("-") or "project"
    return f"{readable}-{digest(name, _HASH_LENGTH)}"


def check_name(name: str, what: str, length: int) -> str:
    """Returns `name`, or says what is wrong with it.

    Raises:
        ConfigurationError: it is not a DNS label without `--` of at most `length` characters.
    """
    if len(name) <= length and _LABEL.fullmatch(name):
        return name
    raise ConfigurationError(
        f"{name!r} can't be the {what}: lower-case letters, digits and single hyphens between them, "
        f"at most {length} characters",
        remedy=f"{_simplified(name)[:length].strip('-')!r} would do" if _simplified(name) else "choose another name",
    )


def host(pattern: str, slug: str, project: str, domain: str) -> str:
    """The host that serves an environment; `pattern` is `{slug}--{project}` or `{slug}`, the operator's choice."""
    return f"{pattern.format(slug=slug, project=project)}.{domain}"


def repository_key(url: str) -> str:
    """What the URLs of one repository have in common, whichever way it is reached: `host/path`, or a path.

    `https://forge.example/team/shop.git`, `ssh://git@forge.example:22/team/shop` and `git@forge.example:team/shop.git`
    are one.
    """
    without_scheme, schemes = re.subn(r"^[a-z+]+://", "", url)
    if "@" in without_scheme.partition("/")[0]:
        without_scheme = without_scheme.partition("@")[2]
    host, _, path = without_scheme.partition("/")
    host, _, after = host.partition(":")
    if after and not (schemes and after.isdecimal()):  # as scp has it there is no port, but a path
        path = f"{after}/{path}" if path else after
    host = host.lower()
    return f"{_SSH_HOSTS.get(host, host)}/{path.strip('/')}".removesuffix(".git")


def resource(platform: str, project: str, slug: str) -> str:
    """The name that every resource of an environment starts with. No part holds a dot, so it can't be ambiguous."""
    return f"branchline.{platform}.{project}.{slug}"


def image_repository(platform: str, project: str) -> str:
    """The image repository of a project; an image's tag in it is its commit."""
    return f"branchline.{platform}/{project}"
