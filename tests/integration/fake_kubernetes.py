"""A strict API server for NixImages: lists in pages, watches, bookmarks, server-side apply of status, leases, events.

What a real one would refuse is a failure here too, kept in `mistakes`.
"""

import copy
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GROUP = "/apis/k8s.nixos.org/v1alpha"
COLLECTION = f"{GROUP}/niximages"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/nixery/leases"


class FakeKubernetes:
    def __init__(self):
        self.changed = threading.Condition()
        self.version = 100
        self.objects, self.leases, self.events, self.mistakes = {}, {}, [], []
        self.log = []  # (version, type, object)
        self.oldest = 100  # watches from before are 410
        self.requests, self.page_limit, self.token = [], 2, "secret"
        self.answer_next = []  # (predicate of method and path, status, headers): answered once, instead
        self.epoch = 0  # watches of an earlier one end
        self.closing_event = None

    def start(self, port=0):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do(self):
                fake.handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.end_watches()
        self.server.shutdown()
        self.server.server_close()

    # What tests do

    def put(self, namespace, name, data):
        with self.changed:
            before = self.objects.get((namespace, name))
            self.version += 1
            image = {"apiVersion": "k8s.nixos.org/v1alpha", "kind": "NixImage", "data": data}
            image["metadata"] = {"namespace": namespace, "name": name, "uid": f"uid-{self.version}", "generation": 1,
                                 "creationTimestamp": f"2026-01-01T00:{self.version // 60 % 60:02}:{self.version % 60:02}Z"}
            if before:
                image["metadata"] = {**before["metadata"], "generation": before["metadata"]["generation"] + 1}
                image["status"] = before.get("status", {})
            self._store(image, "MODIFIED" if before else "ADDED")

    def delete(self, namespace, name):
        with self.changed:
            self.version += 1
            gone = self.objects.pop((namespace, name))
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._tell("DELETED", gone)

    def end_watches(self, event=None, forget=False):
        with self.changed:
            if forget:
                self.version += 1
                self.oldest = self.version
            self.closing_event = event
            self.epoch += 1
            self.changed.notify_all()

    def status(self, namespace, name):
        with self.changed:
            return copy.deepcopy(self.objects[namespace, name].get("status", {}))

    def condition(self, namespace, name, kind):
        return next((c for c in self.status(namespace, name).get("conditions", []) if c["type"] == kind), {})

    def count(self, method, part):
        with self.changed:
            return sum(1 for m, target in self.requests if m == method and part in target)

    # What the server does

    def _store(self, image, kind):
        image["metadata"]["resourceVersion"] = str(self.version)
        self.objects[image["metadata"]["namespace"], image["metadata"]["name"]] = image
        self._tell(kind, image)

    def _tell(self, kind, image):
        self.log.append((self.version, kind, copy.deepcopy(image)))
        self.changed.notify_all()

    def handle(self, request):
        url = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self.changed:
            self.requests.append((request.command, request.path))
            if request.headers.get("Authorization") != f"Bearer {self.token}":
                return self.answer(request, 401, reason="Unauthorized")
            for rule in self.answer_next:
                if rule[0](request.command, request.path):
                    self.answer_next.remove(rule)
                    return self.answer(request, rule[1], headers=rule[2], reason="Chosen")
            if url.path == COLLECTION and query.get("watch") != "1":
                return self.list(request, query)
            if url.path.endswith("/status") and request.command == "PATCH":
                return self.apply(request, url.path, query, json.loads(body))
            if url.path.startswith("/apis/events.k8s.io/v1/namespaces/") and request.command == "POST":
                self.events.append(json.loads(body))
                return self.answer(request, 201, self.events[-1])
            if url.path.startswith(LEASES):
                return self.lease(request, url.path, body)
            if url.path != COLLECTION:
                self.mistakes.append(f"{request.command} {request.path}")
                return self.answer(request, 404, reason="NotFound")
        self.watch(request, query)

    def answer(self, request, status, body=None, headers={}, reason=""):
        text = json.dumps(body or {"kind": "Status", "status": "Failure", "code": status, "reason": reason,
                                   "message": f"the fake says {status}"}).encode()
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text)

    def list(self, request, query):
        keys = sorted(self.objects)
        start = 0
        if "continue" in query:
            version, start = map(int, query["continue"].split(":"))
            if version < self.oldest:
                return self.answer(request, 410, reason="Expired")
        limit = min(int(query.get("limit", 10**6)), self.page_limit) if "limit" in query else 10**6
        metadata = {"resourceVersion": str(self.version)}
        if start + limit < len(keys):
            metadata["continue"] = f"{self.version}:{start + limit}"
        items = [self.objects[key] for key in keys[start : start + limit]]
        self.answer(request, 200, {"kind": "NixImageList", "metadata": metadata, "items": items})

    def apply(self, request, path, query, patch):
        namespace, name = path.split("/")[-4], path.split("/")[-2]
        stored = self.objects.get((namespace, name))
        if not stored:
            return self.answer(request, 404, reason="NotFound")
        wrong = [what for what, good in {
            "type": request.headers["Content-Type"] == "application/apply-patch+yaml",
            "fieldManager": bool(query.get("fieldManager")),
            "kind": patch.get("kind") == "NixImage" and patch.get("apiVersion") == "k8s.nixos.org/v1alpha",
            "name": patch["metadata"].get("name") == name and "managedFields" not in patch["metadata"],
            "fields": set(patch) == {"apiVersion", "kind", "metadata", "status"},
        }.items() if not good]
        if wrong:
            self.mistakes.append(f"apply: {wrong}")
            return self.answer(request, 422, reason="Invalid")
        if patch["metadata"].get("uid", stored["metadata"]["uid"]) != stored["metadata"]["uid"]:
            return self.answer(request, 409, reason="Conflict")
        if stored.get("status") != patch["status"]:
            self.version += 1
            self._store({**stored, "metadata": dict(stored["metadata"]), "status": patch["status"]}, "MODIFIED")
        self.answer(request, 200, self.objects[namespace, name])

    def lease(self, request, path, body):
        name = path[len(LEASES) + 1 :]
        stored = self.leases.get(name)
        if request.command == "GET":
            return self.answer(request, 200, stored) if stored else self.answer(request, 404, reason="NotFound")
        given = json.loads(body)
        name = given["metadata"]["name"]
        stored = self.leases.get(name)
        stale = stored and stored["metadata"]["resourceVersion"] != given["metadata"].get("resourceVersion")
        if stale or (request.command == "POST" and stored):
            return self.answer(request, 409, reason="Conflict")
        if given["spec"].get("holderIdentity") == "":
            self.mistakes.append("an empty holder")
        self.version += 1
        given["metadata"]["resourceVersion"] = str(self.version)
        self.leases[name] = given
        self.answer(request, 200, given)

    def watch(self, request, query):
        since = int(query["resourceVersion"])
        with self.changed:
            epoch = self.epoch
            if since < self.oldest:
                return self.answer(request, 410, reason="Expired")
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()

        def chunk(data):
            request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

        try:
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: epoch != self.epoch or any(v > since for v, *_ in self.log), 60)
                    news, over, closing = [e for e in self.log if e[0] > since], epoch != self.epoch, self.closing_event
                events = [{"type": kind, "object": image} for _, kind, image in news]
                if news and query.get("allowWatchBookmarks") == "true":
                    events.append({"type": "BOOKMARK", "object": {"kind": "NixImage", "metadata": {"resourceVersion": str(news[-1][0])}}})
                if over and closing:
                    events.append(closing)
                for event in events:
                    line = json.dumps(event).encode() + b"\n"
                    chunk(line[:20])  # chunks are not lines
                    chunk(line[20:])
                since = news[-1][0] if news else since
                if over:
                    return chunk(b"")
        except OSError:
            request.close_connection = True
