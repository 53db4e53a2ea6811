"""Visitors of a branch's URL: one who looks once, and several who never stop asking."""

from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Door:
    """Where every host is asked for on this machine, by its Host header: no resolver has to know the names."""

    port: int
    path: str = "/"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def ask(self, connection: http.client.HTTPConnection, url: str) -> tuple[int, str]:
        """The status and the text that the URL's host answers with."""
        connection.request("GET", self.path, headers={"Host": urlsplit(url).hostname or ""})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def get(self, url: str) -> tuple[int, str]:
        connection = self.connect()
        try:
            return self.ask(connection, url)
        finally:
            connection.close()


class Load:
    """Visitors that ask without a pause, and what they got."""

    def __init__(self, door: Door, url: str, expected: tuple[str, str]) -> None:
        self.expected = expected
        self.seen = dict.fromkeys(expected, 0)
        self.failures: list[str] = []
        self._door, self._url = door, url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        """On a kept connection, as a browser does it: one that was closed before an answer came is opened again."""
        connection = self._door.connect()
        while not self._stop.is_set():
            kept = connection.sock is not None
            try:
                status, text = self._door.ask(connection, self._url)
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                if not kept:
                    self.failures.append(repr(error))
                continue
            known = next((part for part in self.expected if part in text), None)
            if status == 200 and known:
                self.seen[known] += 1
            else:
                self.failures.append(f"{status} {text[:60]}")
        connection.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
