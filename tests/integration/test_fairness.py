"""Clients share the slots of every limit, and disconnected clients hold none. With nginx, which passes their addresses."""

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

import fastcgi
from registry import wait_for
from web_site import web_site

PLACES = 20


@pytest.fixture
def site():
    with web_site(NIXERY_MAX_WAITING=str(PLACES), NIXERY_BUILDS="2", NIXERY_HOP_SECONDS="120") as site:
        yield site


class Client:
    """One request from its own address; it stays connected until close."""

    def __init__(self, site, target: str, address: str):
        self.connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=120, source_address=(address, 0))
        self.connection.request("GET", target)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def has_answer(self) -> bool:
        """Whether response bytes have arrived."""
        self.connection.sock.setblocking(False)
        try:
            return len(self.connection.sock.recv(1, socket.MSG_PEEK)) == 1
        except BlockingIOError:
            return False
        finally:
            self.connection.sock.settimeout(120)

    def answer(self) -> tuple[int, bytes]:
        response = self.connection.getresponse()
        return response.status, response.read()


GATED = "/v2/gated/manifests/latest"


def test_disconnected_clients_free_their_slots_and_their_builds_continue(site):
    for _ in range(2):
        with ExitStack() as clients:
            for _ in range(PLACES):
                clients.enter_context(Client(site, GATED, "127.0.0.1"))
            wait_for(lambda: fastcgi.waiting_at(site.socket) == PLACES, "all to wait")
        wait_for(lambda: fastcgi.waiting_at(site.socket) == 0, "the worker to notice that they have left")
    with Client(site, GATED, "127.0.0.2") as other:
        wait_for(lambda: fastcgi.waiting_at(site.socket) == 1, "another client to wait")
    wait_for(lambda: fastcgi.waiting_at(site.socket) == 0, "that one, too, to be gone")
    assert json.loads(fastcgi.ask(site.socket, "/api/build/gated").split(b"\r\n\r\n", 1)[1])["state"] == "building"
    site.open_gate()
    wait_for(lambda: site.events("image built"), "the build that nobody waits for to end")
    assert site.get(GATED).status == 200 and site.events("request failed") == []


def test_a_client_with_all_slots_gives_up_half_of_them_to_another(site):
    with ExitStack() as clients:
        greedy = [clients.enter_context(Client(site, GATED, "127.0.0.1")) for _ in range(PLACES)]
        wait_for(lambda: fastcgi.waiting_at(site.socket) == PLACES, "all to wait")
        others = []
        for number in range(1, PLACES // 2 + 1):
            others.append(clients.enter_context(Client(site, GATED, "127.0.0.2")))
            wait_for(lambda: sum(client.has_answer() for client in greedy) == number, "one of the first client's to be refused")
        assert not any(client.has_answer() for client in others)
        # Both have ten now.
        with Client(site, GATED, "127.0.0.2") as one_more:
            status, body = one_more.answer()
            assert (status, json.loads(body)["errors"][0]["detail"]["failure"]) == (429, "too_busy")
        refused = [client for client in greedy if client.has_answer()]
        assert {client.answer()[0] for client in refused} == {429} and len(refused) == PLACES // 2
        site.open_gate()
        assert [client.answer()[0] for client in [*others, *(c for c in greedy if c not in refused)]] == [200] * PLACES


def test_event_streams_are_shared_between_clients(site):
    """64 in total, 8 for each client."""
    with ExitStack() as clients:
        target = "/api/events/gated"
        streams = {}
        for host in range(1, 9):
            for _ in range(8):
                streams.setdefault(host, []).append(clients.enter_context(Client(site, target, f"127.0.0.{host}")))
        with ThreadPoolExecutor(16) as pool:
            heads = list(pool.map(lambda client: client.connection.getresponse(), [s for of_host in streams.values() for s in of_host]))
        assert [head.status for head in heads] == [200] * 64
        newcomer = clients.enter_context(Client(site, target, "127.0.0.9"))
        head = newcomer.connection.getresponse()
        assert head.status == 200 and head.readline().startswith(b"event:")
        open_streams = lambda: b"\nnixery_streams_open 64\n" in fastcgi.ask(site.socket, "/metrics")
        wait_for(open_streams, "as many as before to be open")


def test_a_disconnected_stream_frees_its_slot(site):
    count = lambda: int(fastcgi.ask(site.socket, "/metrics").split(b"\nnixery_streams_open ")[1].split()[0])
    with ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(Client(site, "/api/events/gated", "127.0.0.1"))
        wait_for(lambda: count() == 8, "all to be open")
        with Client(site, "/api/events/gated", "127.0.0.1") as refused:
            assert refused.answer()[0] == 429
    wait_for(lambda: count() == 0, "all to be closed")
