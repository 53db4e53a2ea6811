"""The application that the tests deploy: a real web server, as files of a repository."""

from __future__ import annotations

SERVER = '''
import base64, hashlib, http.server, json, os, socket, struct, sys, threading, time, urllib.parse

VERSION = open("/app/version").read().strip()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path == "/slow":
            time.sleep(float(query["seconds"]))
        if parts.path == "/env":
            return self.answer(json.dumps(dict(os.environ)))
        if parts.path == "/headers":
            return self.answer(json.dumps(dict(self.headers)))
        if parts.path == "/connect":
            return self.answer(connect(query["host"], int(query["port"])))
        if parts.path == "/crash":
            os._exit(3)
        if parts.path == "/missing":
            return self.answer("no", 404)
        if parts.path == "/events":
            return self.events()
        if parts.path == "/ws":
            return self.echo()
        self.answer(VERSION)

    def do_POST(self):
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        self.answer(self.headers["Content-Length"])

    def answer(self, text, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(1000):
            self.wfile.write(f"data: {number}\\n\\n".encode())
            self.wfile.flush()
            time.sleep(0.05)

    def echo(self):
        """RFC 6455, as little of it as an echo of short text messages needs."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            mask = self.rfile.read(4)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(head[1] & 127)))
            self.wfile.write(bytes([head[0], len(data)]) + data)
            self.wfile.flush()

    def log_message(self, *args):
        pass


def connect(host, port):
    try:
        with socket.create_connection((host, port), timeout=2):
            return "open"
    except OSError as error:
        return f"closed: {error}"


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


print("the server starts", flush=True)
address, port = sys.argv[1], int(sys.argv[2])
Server((address, port), Handler).serve_forever()
'''


def app(
    base: str,
    version: str,
    *,
    port: int = 8000,
    listen: str = "0.0.0.0",
    listen_port: int | None = None,
    more: str = "",
) -> dict[str, str]:
    """The files of a repository whose application answers with `version`; `more` is added to its Dockerfile."""
    dockerfile = f"""\
FROM {base}
COPY server.py version /app/
{more}
EXPOSE {port}
CMD ["python3", "-u", "/app/server.py", "{listen}", "{listen_port or port}"]
"""
    return {"Dockerfile": dockerfile, "server.py": SERVER, "version": version}


def crashing(base: str, message: str = "no database here", code: int = 7) -> dict[str, str]:
    """An application that prints a line and exits."""
    return {"Dockerfile": f'FROM {base}\nEXPOSE 8000\nCMD ["sh", "-c", "echo {message}; exit {code}"]\n'}
