"""Raw HTTP, for requests that no client library would send."""

import http.client
import socket


def exchange(port: int, request: bytes, method: str = "GET") -> http.client.HTTPResponse:
    """Sends the bytes unchanged; the response's `body` is read already."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the response came before the whole request was read
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        response.body = response.read()
        return response


def get(port: int, target: str, *headers: str, method: str = "GET") -> http.client.HTTPResponse:
    lines = [f"{method} {target} HTTP/1.1", "Host: registry.test", "Connection: close", *headers, "", ""]
    return exchange(port, "\r\n".join(lines).encode("latin-1"), method)
