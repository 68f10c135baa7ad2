"""A worker's end of FastCGI: takes one request after another and answers as a test tells it to."""

import os
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


class Responder:
    """`answer(parameters)` returns the CGI answer's bytes, or None to hang up without one. `requests` is what came."""

    def __init__(self, path, answer):
        self.answer, self.requests, self.bodies = answer, [], []
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
