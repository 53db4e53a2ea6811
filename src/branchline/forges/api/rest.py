"""A forge's REST API: where it is, how it is asked, and lists that come in pages.

A list is whole or an error: a page that is missing would read as "those branches are gone".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from branchline import web

Item = dict[str, Any]
"""One JSON object of an answer."""

_MOST_PAGES = 200
"""Of a hundred items each. A list that goes on is an error, as one whose end never comes would be."""
_MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Api:
    """One forge's API, asked with one token. The token goes to `base` and nowhere else."""

    base: str
    """Without a slash at its end."""
    headers: Mapping[str, str] = field(repr=False)

    def ask(self, method: str, path: str, data: object = None, *, accept: tuple[int, ...] = ()) -> web.Answer:
        """Sends a request; `accept` are further statuses that are no error.

        Raises:
            WebError: the forge refuses it, doesn't answer, or says that the repository is elsewhere.
        """
        answer = web.ask(method, self.base + path, headers=self.headers, data=data, accept=(*accept, *_MOVED))
        if answer.status in _MOVED:
            raise web.WebError(
                f"{origin(self.base)} says that this repository is elsewhere now (status {answer.status})",
                status=answer.status,
                remedy="it was renamed or moved: use its new URL",
            )
        return answer

    def get(self, path: str) -> Item:
        """The JSON object at a path.

        Raises:
            WebError: as `ask`, or the answer is something else.
        """
        return self.object(self.ask("GET", path))

    def list(
        self, path: str, query: Mapping[str, str] | None = None, *, size_name: str = "per_page", size: int = 100
    ) -> Iterator[Item]:
        """Every item of a list that GitHub, GitLab or Gitea gives in numbered pages.

        There are more where a header says so, or where the page is as full as we asked for and no header says
        anything: a proxy may have dropped it.
        https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api
        https://docs.gitlab.com/api/rest/#pagination

        Raises:
            WebError: a page can't be had, or they are not all that there is.
        """
        seen = 0
        for number in range(1, _MOST_PAGES + 1):
            answer = self.ask("GET", f"{path}?{_encoded({**(query or {}), size_name: size, 'page': number})}")
            items = self._objects(answer.json())
            yield from items
            seen += len(items)
            total = _total(answer.headers)
            if not _more(answer.headers, full=len(items) >= size and not (total and seen >= total)):
                if seen < total:
                    raise web.WebError(f"{origin(self.base)} gave {seen} of {total} items of a list")
                return
        raise self._endless()

    def page(self, path: str, query: Mapping[str, str]) -> list[Item]:
        """The first page of a list, where what is looked for is the latest.

        Raises:
            WebError: as `ask`, or the answer is something else.
        """
        return self._objects(self.ask("GET", f"{path}?{_encoded(query)}").json())

    def linked(self, path: str, query: Mapping[str, str] | None = None, *, size: int) -> Iterator[Item]:
        """Every item of a list whose pages name the next one's URL, as Bitbucket has them.

        https://developer.atlassian.com/cloud/bitbucket/rest/intro/#pagination

        Raises:
            WebError: a page can't be had, or is somewhere that the token must not go.
        """
        separator = "&" if "?" in path else "?"
        following = f"{path}{separator}{_encoded({**(query or {}), 'pagelen': size})}"
        for _ in range(_MOST_PAGES):
            page = self.get(following)
            yield from self._objects(page.get("values"))
            after: object = page.get("next")
            if not after:
                return
            if not isinstance(after, str) or not after.startswith(f"{self.base}/"):
                raise web.WebError(
                    f"{origin(self.base)} says that a list goes on elsewhere, where the token must not go"
                )
            following = after.removeprefix(self.base)
        raise self._endless()

    def object(self, answer: web.Answer) -> Item:
        """The JSON object that was answered.

        Raises:
            WebError: it is something else.
        """
        return self._object(answer.json())

    def _object(self, document: object) -> Item:
        if not isinstance(document, dict):
            raise web.WebError(f"{origin(self.base)} answers with something else than a JSON object")
        return cast("Item", document)

    def _objects(self, document: object) -> list[Item]:
        if not isinstance(document, list):
            raise web.WebError(f"{origin(self.base)} answers with something else than a list")
        return [self._object(item) for item in cast("list[object]", document)]

    def _endless(self) -> web.WebError:
        return web.WebError(f"{origin(self.base)} has a list of more than {_MOST_PAGES} pages")


def at(item: object, *keys: str) -> Any:
    """What is in an item below these keys, or None where it isn't."""
    for key in keys:
        if not isinstance(item, dict):
            return None
        item = cast("Item", item).get(key)
    return item


def origin(url: str) -> str:
    """Scheme, host and port of a URL, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _encoded(query: Mapping[str, object]) -> str:
    """As `forge.escaped` does it with a path."""
    return urlencode(query, errors="surrogateescape")


def _more(headers: Mapping[str, str], *, full: bool) -> bool:
    if "x-next-page" in headers:
        return bool(headers["x-next-page"])
    if "link" in headers:
        return 'rel="next"' in headers["link"]
    return full


def _total(headers: Mapping[str, str]) -> int:
    """How many items there are on all pages, where the forge says so; otherwise 0."""
    said = headers.get("x-total-count") or headers.get("x-total") or ""
    return int(said) if said.isdecimal() and len(said) < 19 else 0
