"""A token service for Docker's token flow: random tokens, each for some repositories. For tests."""

import base64
import http.server
import json
import secrets
import threading
from urllib.parse import parse_qs, urlparse


class TokenService:
    """`users`: name -> password. Anonymous clients can pull what `is_public`, users everything."""

    def __init__(self, users: dict[str, str], is_public):
        self.users, self.is_public = users, is_public
        self.tokens: dict[str, set[str]] = {}
        self.realm = ""  # set when the port is known
        self.checks = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                (service.check if self.path == "/check" else service.issue)(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def issue(self, request):
        scopes = parse_qs(urlparse(request.path).query).get("scope", [])
        wanted = {scope.split(":")[1] for scope in scopes if scope.startswith("repository:") and "pull" in scope}
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        user = None
        if kind == "Basic":
            name, _, password = base64.b64decode(given).decode().partition(":")
            if self.users.get(name) != password:
                return self.answer(request, 401, {})
            user = name
        token = secrets.token_urlsafe(16)
        self.tokens[token] = {repository for repository in wanted if user or self.is_public(repository)} | {""}
        self.answer(request, 200, {"token": token, "access_token": token, "expires_in": 300})

    def check(self, request):
        self.checks += 1
        repository = request.headers.get("X-Nixery-Repository", "")
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer" and token in self.tokens:
            base = request.headers.get("X-Nixery-Base") == "1"
            allowed = repository in self.tokens[token] and (repository or base)
            return self.answer(request, 200 if allowed else 403, {})
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        self.answer(request, 401, {}, {"WWW-Authenticate": f'Bearer realm="{self.realm}",service="nixery"{scope}'})

    @staticmethod
    def answer(request, status: int, body: dict, headers: dict[str, str] = {}):
        content = json.dumps(body).encode()
        request.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
