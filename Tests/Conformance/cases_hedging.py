"""A second attempt over HTTP/2 while the first is slow: the one that is not needed is reset, and its connection serves on."""

import threading

from harness import CANCEL, INTERNAL_ERROR, Daemon, HTTP2Upstream, case, eventually, expect, reset

POLICY = """balancer: { kind: round-robin }
hedging: { percentile: 90, min: 100ms, samples: 20 }"""


class Pair:
    """Two endpoints. Of what is called /slow the first attempt is answered when `act` says so, the second at once or never."""

    def __init__(self, act, answers_second=True):
        self.attempts = []
        self.lock = threading.Lock()
        self.second = threading.Event()
        self.act, self.answers_second = act, answers_second
        self.upstreams = [HTTP2Upstream(self.script), HTTP2Upstream(self.script)]

    def script(self, peer):
        while True:
            number = peer.next_request()
            if peer.stream(number)[":path"] != "/slow":
                peer.respond(number)
                continue
            with self.lock:
                self.attempts.append((peer, number))
                place = len(self.attempts)
            if place == 1:
                self.act(self, peer, number)
            else:
                self.second.set()
                if self.answers_second:
                    peer.respond(number, body=b"second")

    def daemon(self):
        daemon = Daemon(self.upstreams[0], protocol="http2", endpoints=[one.address for one in self.upstreams], policy=POLICY)
        daemon.upstreams.append(self.upstreams[1])
        return daemon


def warm(daemon, client):
    for place in range(40):
        expect(client.get(f"/{place}").status == 200, place)


def expect_reset(daemon, pair, place):
    """The attempt at this place has been reset, its connection still serves, and no other was made."""
    peer, number = pair.attempts[place]
    eventually(lambda: peer.stream(number).reset is not None, lambda: f"not reset: {peer.stream(number)}")
    expect(peer.stream(number).reset == CANCEL, peer.stream(number))
    client = daemon.client()
    for one in range(4):
        expect(client.get(f"/after/{one}").status == 200, one)
    expect([len(one.peers) for one in pair.upstreams] == [1, 1], [one.peers for one in pair.upstreams])


@case("hedging: the hedge answers first, and the slow stream is reset")
def _():
    pair = Pair(lambda pair, peer, number: None)
    with pair.daemon() as daemon:
        client = daemon.client()
        warm(daemon, client)
        response = client.get("/slow")
        expect(response.status == 200 and response.data == b"second", response)
        expect(len(pair.attempts) == 2 and pair.attempts[0][0].upstream is not pair.attempts[1][0].upstream, pair.attempts)
        expect(daemon.metric("fairlead_hedges_total", outcome="won") == 1, "won")
        expect_reset(daemon, pair, 0)


@case("hedging: the slow stream answers after all, and the hedge's is reset")
def _():
    def act(pair, peer, number):
        pair.second.wait(20)
        peer.respond(number, body=b"first")

    pair = Pair(act, answers_second=False)
    with pair.daemon() as daemon:
        client = daemon.client()
        warm(daemon, client)
        response = client.get("/slow")
        expect(response.status == 200 and response.data == b"first", response)
        eventually(lambda: daemon.metric("fairlead_hedges_total", outcome="lost") == 1, "lost")
        expect_reset(daemon, pair, 1)


@case("hedging: a slow stream that is reset in the end leaves the client to its hedge")
def _():
    def act(pair, peer, number):
        pair.second.wait(20)
        peer.send(reset(number, INTERNAL_ERROR))

    pair = Pair(act, answers_second=False)
    with pair.daemon() as daemon:
        client = daemon.client()
        warm(daemon, client)
        slow = client.start("/slow")
        eventually(lambda: daemon.metric("fairlead_hedges_total", outcome="won") == 1, "the hedge has the request")
        peer, number = pair.attempts[1]
        peer.respond(number, body=b"second")
        response = client.wait(slow)
        expect(response.status == 200 and response.data == b"second", response)

