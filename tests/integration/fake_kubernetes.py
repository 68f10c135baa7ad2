"""A strict API server for NixImages: lists in pages, watches, bookmarks, server-side apply of status, leases, events, and
as much besides as kubectl's get, describe, apply and delete need.

What a real one would refuse of the controller's is refused here too, and kept in `mistakes`. It can lose its memory, go
away, come back, cut connections and fail in bursts.
"""

import copy
import datetime
import json
import random
import select
import socket
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kubernetes_rules import ImageRules, problems_of_apply, problems_of_event, problems_of_lease
from registry import free_port

GROUP = "/apis/k8s.nixos.org/v1alpha"
COLLECTION = f"{GROUP}/niximages"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/nixery/leases"
EVENTS = "/apis/events.k8s.io/v1/namespaces/"


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cut(Exception):
    """Closes the connection without a response or within one."""


def has_hung_up(connection) -> bool:
    """No client pipelines requests, so readable data means the end of the connection."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: "FakeKubernetes"

    def log_message(self, *_):
        pass

    def do(self):
        self.url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.url.query))
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self.fake.handle(self)
        except (Cut, OSError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

    def answer(self, status, body=None, headers={}, reason="", message=""):
        if body is None:
            body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason,
                    "message": message or f"the fake says {status}"}  # fmt: skip
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, address, handler):
        self.connections = set()
        super().__init__(address, handler)

    def process_request(self, request, client_address):
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_):
        pass

    def cut_all(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class FakeKubernetes:
    def __init__(self):
        self.rules = ImageRules()
        self.random = random.Random(1)
        self.changed = threading.Condition()
        self.version = 9_990  # the number of digits soon grows
        self.objects, self.leases, self.events = {}, {}, {}
        self.mistakes = []
        self.log = []  # (version, type, object)
        self.oldest = self.version  # watches of earlier versions are 410
        self.requests, self.page_limit = [], 2  # (method, target, time of arrival)
        self.tokens = {"secret": ""}  # token -> user
        self.writes = []  # of status: (user, the lease's holder, namespace/name)
        self.answer_next = []  # (predicate of method and path, status, headers): answered once, in place of the normal response
        self.held = lambda method, path: False  # matching requests wait until release()
        self.cut_one_in = 0  # responses that are omitted or truncated
        self.has_resource = True
        self.epoch = 0  # watches of an earlier one end
        self.closing_event = None
        self.port = free_port()  # reserved, also while nothing listens
        self.tls = None  # an ssl.SSLContext

    # Life

    def start(self):
        handler = type("OfThisFake", (Handler,), {"fake": self})
        self.server = Server(("127.0.0.1", self.port), handler)
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        server, self.server = self.server, None
        if server is None:
            return
        self.end_watches()
        self.release()
        server.shutdown()
        server.server_close()
        server.cut_all()

    def restore(self):
        """Restores from a backup: objects with older versions than those already sent."""
        with self.changed:
            self.version = 100
            for image in self.objects.values():
                self.version += 1
                image["metadata"]["resourceVersion"] = str(self.version)
            self.log.clear()
            self.oldest = self.version

    def forget(self):
        """Compacts all changes until now."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.log.clear()

    def end_watches(self, event=None, forget=False):
        if forget:
            self.forget()
        with self.changed:
            self.closing_event = event
            self.epoch += 1
            self.changed.notify_all()

    def release(self):
        with self.changed:
            self.held = lambda method, path: False
            self.changed.notify_all()

    # What tests do

    def put(self, namespace, name, data):
        """Creates or changes an object. Raises ValueError if the server would refuse it."""
        with self.changed:
            before = self.objects.get((namespace, name))
            image = {"apiVersion": "k8s.nixos.org/v1alpha", "kind": "NixImage", "data": data,
                     "metadata": {"namespace": namespace, "name": name}}  # fmt: skip
            if before:
                image = {**before, "data": data, "metadata": dict(before["metadata"])}
            image = self.rules.admitted(image)
            if before and image["data"] == before["data"]:
                return
            self.version += 1
            if before:
                image["metadata"]["generation"] += 1
            else:
                image["metadata"] |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": self._birth()}
            self._store(image, "MODIFIED" if before else "ADDED")

    def _birth(self):
        """One second for each, so that creation times are in order."""
        return f"2026-01-01T{self.version // 3600 % 24:02}:{self.version // 60 % 60:02}:{self.version % 60:02}Z"

    def delete(self, namespace, name):
        with self.changed:
            self.version += 1
            gone = self.objects.pop((namespace, name))
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._tell("DELETED", gone)

    def object(self, namespace, name):
        with self.changed:
            return copy.deepcopy(self.objects[namespace, name])

    def all(self):
        with self.changed:
            return copy.deepcopy(self.objects)

    def status(self, namespace, name):
        return self.object(namespace, name).get("status", {})

    def condition(self, namespace, name, kind):
        return next((c for c in self.status(namespace, name).get("conditions", []) if c["type"] == kind), {})

    def events_about(self, namespace, name):
        with self.changed:
            return [e for e in self.events.values() if (e["regarding"]["namespace"], e["regarding"]["name"]) == (namespace, name)]

    def count(self, method, part):
        with self.changed:
            return len(self.times(method, part))

    def times(self, method, part):
        with self.changed:
            return [when for m, target, when in self.requests if m == method and part in target]

    def fail(self, count, status):
        """Fails the next `count` requests of any kind."""
        with self.changed:
            self.answer_next += [(lambda method, path: True, status, {})] * count

    def holder(self):
        return self.leases.get("nixery-controller", {}).get("spec", {}).get("holderIdentity")

    # What the server does

    def _store(self, image, kind):
        image["metadata"]["resourceVersion"] = str(self.version)
        self.objects[image["metadata"]["namespace"], image["metadata"]["name"]] = image
        self._tell(kind, image)

    def _tell(self, kind, image):
        self.log.append((self.version, kind, copy.deepcopy(image)))
        self.changed.notify_all()

    def _may_cut(self):
        if self.cut_one_in and self.random.randrange(self.cut_one_in) == 0:
            raise Cut

    def handle(self, request):
        method, path = request.command, request.url.path
        with self.changed:
            self.requests.append((method, request.path, time.monotonic()))
            request.epoch = self.epoch  # a counted watch is one that end_watches() ends
            self._may_cut()
            request.who = self.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
            if request.headers.get("User-Agent", "").startswith("kubectl"):
                request.who = "a person"  # whose credentials kubectl does not send without TLS
            if request.who is None:
                return request.answer(401, reason="Unauthorized")
            for rule in self.answer_next:
                if rule[0](method, request.path):
                    self.answer_next.remove(rule)
                    return request.answer(rule[1], headers=rule[2], reason="Chosen")
            self.changed.wait_for(lambda: not self.held(method, request.path))
            if path.startswith(GROUP + "/") and not self.has_resource:
                return request.answer(404, reason="NotFound", message="the server could not find the requested resource")
            if path == COLLECTION and request.query.get("watch") != "1":
                return self.list(request)
            if path.startswith(GROUP + "/namespaces/"):
                return self.one(request)
            if path.startswith(EVENTS) and method == "POST":
                return self.event(request, path[len(EVENTS) :].split("/")[0])
            if path.startswith(LEASES):
                return self.lease(request, path[len(LEASES) + 1 :])
            if path != COLLECTION:
                return self.discover(request)
            gone = int(request.query["resourceVersion"]) < self.oldest  # versions compacted later only end the watch
        self.watch(request, gone)

    def list(self, request):
        keys, query = sorted(self.objects), request.query
        start, version = 0, self.version
        if "continue" in query:
            version, start = map(int, query["continue"].split(":"))
            if version < self.oldest:
                return request.answer(410, reason="Expired")
        limit = min(int(query["limit"]), self.page_limit) if "limit" in query else 10**6
        metadata = {"resourceVersion": str(version)}
        if start + limit < len(keys):
            metadata["continue"] = f"{version}:{start + limit}"
        items = [self.objects[key] for key in keys[start : start + limit]]
        request.answer(200, {"apiVersion": "k8s.nixos.org/v1alpha", "kind": "NixImageList", "metadata": metadata, "items": items})

    def one(self, request):
        parts = request.url.path[len(GROUP) :].split("/")  # "", namespaces, NAMESPACE, niximages, NAME, status
        namespace, name = parts[2], parts[4] if len(parts) > 4 else ""
        if not name and request.command == "POST":
            return self.put_by(request, namespace, json.loads(request.body))
        if not name:
            items = [image for (space, _), image in sorted(self.objects.items()) if space == namespace]
            return request.answer(200, {"apiVersion": "k8s.nixos.org/v1alpha", "kind": "NixImageList",
                                        "metadata": {"resourceVersion": str(self.version)}, "items": items})  # fmt: skip
        stored = self.objects.get((namespace, name))
        if not stored:
            return request.answer(404, reason="NotFound", message=f'niximages.k8s.nixos.org "{name}" not found')
        if len(parts) == 6 and request.command == "PATCH":
            return self.apply(request, namespace, name, stored)
        if request.command == "GET":
            return request.answer(200, stored)
        if request.command == "DELETE":
            self.delete(namespace, name)
            return request.answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        if request.command == "PATCH" and request.headers["Content-Type"] == "application/merge-patch+json":
            patch = json.loads(request.body)
            data = {name: value for name, value in {**stored["data"], **patch.get("data", {})}.items() if value is not None}
            return self.put_by(request, namespace, {"metadata": {"name": name}, "data": data})
        self.mistakes.append(f"{request.command} {request.path}")
        request.answer(405, reason="MethodNotAllowed")

    def put_by(self, request, namespace, image):
        try:
            self.put(namespace, image["metadata"]["name"], image.get("data"))
        except ValueError as problem:
            return request.answer(422, reason="Invalid", message=f"NixImage is invalid: {problem}")
        request.answer(201, self.objects[namespace, image["metadata"]["name"]])

    def apply(self, request, namespace, name, stored):
        if has_hung_up(request.connection):
            raise Cut  # from a process that has ended meanwhile and may have released the lease
        patch = json.loads(request.body)
        self.writes.append((request.who, self.holder(), f"{namespace}/{name}"))
        if wrong := problems_of_apply(patch, request.headers["Content-Type"], request.query, name):
            self.mistakes.append(f"apply: {wrong}")
            return request.answer(422, reason="Invalid")
        if unknown := self.rules.unknown_fields(patch):
            self.mistakes.append(f"apply: unknown {unknown}")
            return request.answer(500, message=f"failed to create typed patch object: {unknown}: field not declared in schema")
        if patch["metadata"].get("resourceVersion", stored["metadata"]["resourceVersion"]) != stored["metadata"]["resourceVersion"]:
            return request.answer(409, reason="Conflict")
        image = {**stored, "metadata": dict(stored["metadata"]), "status": patch["status"]}
        if problems := self.rules.problems(image):
            self.mistakes.append(f"apply: {problems}")
            return request.answer(422, reason="Invalid", message=str(problems))
        if patch["status"].get("observedGeneration", 0) > stored["metadata"]["generation"]:
            self.mistakes.append(f"apply: a generation that does not exist yet of {namespace}/{name}")
        if stored.get("status") != patch["status"]:
            self.version += 1
            self._store(image, "MODIFIED")
        self._may_cut()
        request.answer(200, self.objects[namespace, name])

    def event(self, request, namespace):
        event = json.loads(request.body)
        if problems := problems_of_event(event, namespace):
            self.mistakes.append(f"event: {problems}: {event}")
            return request.answer(422, reason="Invalid")
        key = (namespace, event["metadata"]["name"])
        if key in self.events:
            return request.answer(409, reason="AlreadyExists")
        self.events[key] = event
        self._may_cut()
        request.answer(201, event)

    def lease(self, request, name):
        stored = self.leases.get(name)
        if request.command == "GET":
            return request.answer(200, stored) if stored else request.answer(404, reason="NotFound")
        given = json.loads(request.body)
        problems = problems_of_lease(given, "nixery")
        if request.command == "PUT" and not given["metadata"].get("resourceVersion"):
            problems.append("an update without a resourceVersion")
        if problems:
            self.mistakes.append(f"lease: {problems}: {given}")
            return request.answer(422, reason="Invalid")
        stored = self.leases.get(given["metadata"]["name"])
        if request.command == "PUT" and not stored:
            return request.answer(404, reason="NotFound")
        if request.command == "POST" and stored:
            return request.answer(409, reason="AlreadyExists")
        if stored and stored["metadata"]["resourceVersion"] != given["metadata"]["resourceVersion"]:
            return request.answer(409, reason="Conflict")
        self.version += 1
        given["metadata"] |= {"resourceVersion": str(self.version), "uid": "of-the-lease"}
        self.leases[given["metadata"]["name"]] = given
        self._may_cut()
        request.answer(200, given)

    def discover(self, request):
        """The discovery requests of kubectl."""
        path = request.url.path
        groups = {"k8s.nixos.org": "v1alpha"}
        resource = {"name": "niximages", "singularName": "niximage", "namespaced": True, "kind": "NixImage", "shortNames": ["nixi"],
                    "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}  # fmt: skip
        if path == "/api":
            return request.answer(200, {"kind": "APIVersions", "versions": ["v1"]})
        if path == "/apis":
            versions = [{"groupVersion": f"{g}/{v}", "version": v} for g, v in groups.items()]
            return request.answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                {"name": g, "versions": versions, "preferredVersion": versions[0]} for g in groups]})  # fmt: skip
        if path == "/api/v1":
            return request.answer(200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": [
                {"name": "events", "singularName": "", "namespaced": True, "kind": "Event", "verbs": ["get", "list"]}]})  # fmt: skip
        if path == GROUP:
            return request.answer(200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "k8s.nixos.org/v1alpha", "resources": [resource]})
        if path.startswith("/api/v1/namespaces/") and path.endswith("/events"):
            wanted = dict(pair.split("=", 1) for pair in request.query.get("fieldSelector", "").split(",") if pair)
            items = [self.core_event(e) for (space, _), e in self.events.items() if space == path.split("/")[4]]
            named = lambda event: all(event["involvedObject"].get(k.removeprefix("involvedObject."), "") == v for k, v in wanted.items())
            return request.answer(200, {"kind": "EventList", "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version)},
                                        "items": [event for event in items if named(event)]})  # fmt: skip
        if request.who != "a person":
            self.mistakes.append(f"{request.command} {request.path}")
        request.answer(404, reason="NotFound", message="the server could not find the requested resource")

    @staticmethod
    def core_event(event):
        """The same event in the v1 form that kubectl reads."""
        return {"apiVersion": "v1", "kind": "Event", "metadata": event["metadata"], "involvedObject": event["regarding"],
                "reason": event["reason"], "message": event["note"], "type": event["type"], "action": event["action"],
                "eventTime": event["eventTime"], "reportingComponent": event["reportingController"],
                "reportingInstance": event["reportingInstance"], "source": {}, "firstTimestamp": None, "lastTimestamp": None}  # fmt: skip

    def watch(self, request, gone):
        query = request.query
        since = int(query["resourceVersion"])
        epoch = request.epoch
        expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
        if gone and self.random.random() < 0.5:
            return request.answer(410, reason="Expired")
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()

        def send(events):
            """Chunks are not lines."""
            data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
            while data:
                size = self.random.choice([1, 20, 1000, 100_000])
                part, data = data[:size], data[size:]
                request.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                if data:
                    self._may_cut()

        if gone:
            send([{"type": "ERROR", "object": expired}])
            return request.wfile.write(b"0\r\n\r\n")
        while True:
            with self.changed:
                self.changed.wait_for(lambda: epoch != self.epoch or any(v > since for v, *_ in self.log), float(query["timeoutSeconds"]))
                news = [copy.deepcopy(e) for e in self.log if e[0] > since]
                over, closing = epoch != self.epoch or not news, self.closing_event
            events = [{"type": kind, "object": image} for _, kind, image in news]
            if news and query.get("allowWatchBookmarks") == "true" and self.random.random() < 0.3:
                mark = {"apiVersion": "k8s.nixos.org/v1alpha", "kind": "NixImage", "metadata": {"resourceVersion": str(news[-1][0])}}
                events.append({"type": "BOOKMARK", "object": mark})
            if over and closing:
                events.append(closing)
            send(events)
            since = news[-1][0] if news else since
            if over:
                return request.wfile.write(b"0\r\n\r\n")
