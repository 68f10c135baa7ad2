"""A minimal FastCGI implementation: a worker whose responses a test defines, and a web server's end."""

import os
import re
import socket
import struct
import threading

BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6


def _length(data: bytes, at: int) -> tuple[int, int]:
    if data[at] < 128:
        return data[at], at + 1
    return struct.unpack_from(">I", data, at)[0] & 0x7FFFFFFF, at + 4


def _parameters(data: bytes) -> list[tuple[str, str]]:
    pairs, at = [], 0
    while at < len(data):
        name, at = _length(data, at)
        value, at = _length(data, at)
        pairs.append((data[at : at + name].decode("latin-1"), data[at + name : at + name + value].decode("latin-1")))
        at += name + value
    return pairs


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def request(target: str, keep: bool = False, **parameters: str) -> bytes:
    """A web server's GET request; `keep` asks to keep the connection open."""
    pairs = {"REQUEST_METHOD": "GET", "REQUEST_URI": target, "REMOTE_ADDR": "127.0.0.1", **parameters}
    packed = b"".join(struct.pack(">II", len(n) | 1 << 31, len(v) | 1 << 31) + n.encode() + v.encode() for n, v in pairs.items())
    return _record(BEGIN, struct.pack(">HB5x", 1, int(keep))) + _record(PARAMS, packed) + _record(PARAMS, b"") + _record(STDIN, b"")


def connect(path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))  # without a timeout it waits if the backlog is full; with one, it fails at once
    connection.settimeout(60)
    return connection


def answer_on(connection: socket.socket) -> bytes:
    """The CGI response on this connection; a partial one if the worker hangs up."""
    answer = b""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(8)) == 8:
            _, kind, _, length, padding, _ = struct.unpack(">BBHHBB", head)
            content = stream.read(length)
            stream.read(padding)
            if kind == STDOUT:
                answer += content
            elif kind == END:
                break
    return answer


def ask(path, target: str, **parameters: str) -> bytes:
    """The CGI response of the worker at `path`, without a web server."""
    with connect(path) as connection:
        connection.sendall(request(target, **parameters))
        return answer_on(connection)


def answers_at(path) -> bool:
    """Whether a worker serves at `path`. The socket's name exists before the worker listens and is ready."""
    try:
        return ask(path, "/healthz").startswith(b"Status: 200")
    except OSError:
        return False


def waiting_at(path) -> int:
    """Number of requests of that worker that wait for builds."""
    return int(re.search(rb"^nixery_requests_waiting (\d+)$", ask(path, "/metrics"), re.M)[1])


class Responder:
    """`answer(parameters)` returns the CGI response's bytes, or None to hang up without one. `requests` are the received ones;
    `kept` says which asked to keep the connection open."""

    def __init__(self, path, answer):
        self.answer, self.requests, self.bodies, self.kept = answer, [], [], []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        name = self.listener.getsockname()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(name)

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket):
        with connection, connection.makefile("rb") as stream:
            parameters, body = b"", b""
            while True:
                _, kind, request, length, padding, _ = struct.unpack(">BBHHBB", stream.read(8))
                content = stream.read(length)
                stream.read(padding)
                if kind == BEGIN:
                    self.kept.append(content[2] & 1)
                if kind == PARAMS:
                    parameters += content
                elif kind == STDIN and content:
                    body += content
                elif kind == STDIN:
                    break
            pairs = _parameters(parameters)
            self.requests.append(pairs)
            self.bodies.append(body)
            answer = self.answer(dict(pairs))
            if answer is None:
                return
            try:
                for at in range(0, len(answer), 65528):
                    part = answer[at : at + 65528]
                    connection.sendall(struct.pack(">BBHHBB", 1, STDOUT, request, len(part), 0, 0) + part)
                connection.sendall(struct.pack(">BBHHBB", 1, STDOUT, request, 0, 0, 0))
                connection.sendall(struct.pack(">BBHHBB", 1, END, request, 8, 0, 0) + bytes(8))
            except BrokenPipeError:
                pass
