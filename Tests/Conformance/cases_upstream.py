"""The server as attacker, or only as one that is going away: what reaches the client, what is retried, what is ended."""

import socket
import threading

from harness import (
    INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, Daemon,
    HTTP1Upstream, HTTP2Upstream, Upstream, case, eventually, expect, frame, ping, reset, settings, window)
from hyperframe.frame import GoAwayFrame, PriorityFrame, SettingsFrame

MIB = 1 << 20


@case("upstream: the preface, SETTINGS without push, and no :protocol or priority")
def _():
    upstream = HTTP2Upstream()
    with Daemon(upstream, protocol="http2") as daemon:
        expect(daemon.client().get("/a").status == 200, "")
        peer = upstream.peers[0]
        expect(isinstance(peer.frames[0], SettingsFrame) and peer.peer_settings[SettingsFrame.ENABLE_PUSH] == 0, peer.frames[0])
        names = [name for name, _ in upstream.heads[0]]
        expect(names[:4] and all(name.startswith(":") for name in names[:4]) and sorted(names[:4]) ==
               [":authority", ":method", ":path", ":scheme"], names)


@case("upstream: many requests share one connection")
def _():
    upstream = HTTP2Upstream()
    with Daemon(upstream, protocol="http2") as daemon:
        clients = [daemon.client() for _ in range(5)]
        numbers = [[client.start(f"/{place}") for place in range(20)] for client in clients]
        for client, mine in zip(clients, numbers):
            for place, number in enumerate(mine):
                expect(client.wait(number).data == b"/%d" % place, client.stream(number))
        expect(len(upstream.peers) == 1, f"{len(upstream.peers)} connections")


@case("upstream: no more streams at once than it allows")
def _():
    most = 0

    def script(peer):
        nonlocal most
        while True:
            number = peer.next_request()
            open_ = [one for one in peer.streams if one not in peer.answered or one == number]
            most = max(most, len(open_))
            peer.respond(number)

    upstream = HTTP2Upstream(script, first=settings(MAX_CONCURRENT_STREAMS=3))
    with Daemon(upstream, protocol="http2") as daemon:
        client = daemon.client()
        client.expect_alive()
        expect(client.get("/first").status == 200, "")
        numbers = [client.start(f"/{place}") for place in range(60)]
        for number in numbers:
            expect(client.wait(number).status == 200, client.stream(number))


@case("upstream: REFUSED_STREAM is retried, also a POST, and the client does not notice")
def _():
    refused = []

    def script(peer):
        while True:
            number = peer.next_request()
            if len(refused) < 2:
                refused.append(peer.stream(number)[":path"])
                peer.send(reset(number, REFUSED_STREAM))
            else:
                peer.respond(number, body=peer.stream(number).data or b"none")

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        response = daemon.client().post("/a", b"hello")
        expect((response.status, response.data) == (200, b"hello"), response)
        expect(refused == ["/a", "/a"], refused)


@case("upstream: GOAWAY with a lower last stream: those above are asked again on another connection")
def _():
    def script(peer):
        if peer.number == 0:
            numbers = sorted(peer.next_request() for _ in range(6))
            peer.send(GoAwayFrame(0, last_stream_id=numbers[2], error_code=NO_ERROR))
            for number in numbers[:3]:
                peer.respond(number, body=b"old")
            while peer.read(60):
                pass
        else:
            while True:
                peer.respond(peer.next_request(), body=b"new")

    upstream = HTTP2Upstream(script)
    with Daemon(upstream, protocol="http2") as daemon:
        client = daemon.client()
        numbers = [client.start(f"/{place}", end=False, method="POST") for place in range(6)]
        for number in numbers:
            client.send(client.data(number, b"body", end=True))
        bodies = sorted(client.wait(number).data for number in numbers)
        expect(bodies == [b"new"] * 3 + [b"old"] * 3, f"{bodies} {client.streams}")
        expect(client.get("/later").data == b"new", "a later request")
        expect(len(upstream.peers) == 2, f"{len(upstream.peers)} connections")


@case("upstream: GOAWAY with an error and then the end: requests that were looked at fail, others do not")
def _():
    def script(peer):
        if peer.number == 0:
            number = peer.next_request()
            peer.send(GoAwayFrame(0, last_stream_id=number, error_code=INTERNAL_ERROR))
            peer.close()
        else:
            while True:
                peer.respond(peer.next_request())

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client()
        response = client.post("/a", b"x")
        expect(response.status in (502, 503), response)
        expect(client.get("/b").status == 200, "the next")


@case("upstream: a graceful GOAWAY between requests is no failure")
def _():
    def script(peer):
        number = peer.next_request()
        peer.respond(number)
        peer.send(GoAwayFrame(0, last_stream_id=number, error_code=NO_ERROR))
        while peer.read(60):
            pass

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client()
        for place in range(20):
            expect(client.get(f"/{place}").status == 200, client.streams)


@case("upstream: a reset before the head is 502, in the middle of the body a reset")
def _():
    def script(peer):
        while True:
            number = peer.next_request()
            if peer.stream(number)[":path"] == "/middle":
                peer.send(peer.headers(number, [(":status", "200")], end=False), peer.data(number, b"some"))
            peer.send(reset(number, INTERNAL_ERROR))

    upstream = HTTP2Upstream(script)
    with Daemon(upstream, protocol="http2") as daemon:
        client = daemon.client()
        response = client.post("/before", b"x")
        expect(response.status in (502, 503) and response["fairlead-code"], response)
        response = client.post("/middle", b"x")
        expect(response.reset not in (None, NO_ERROR) and not response.is_whole, response)
        peer = daemon.socket()
        peer.sendall(b"GET /middle HTTP/1.1\r\nHost: web\r\n\r\n")
        received = b""
        try:
            while piece := peer.recv(4096):
                received += piece
        except ConnectionResetError:
            pass
        expect(not received.endswith(b"0\r\n\r\n"), received)
        expect(len(upstream.peers) == 1, "a reset of a stream has cost the connection")


@case("upstream: its connection breaks in the middle of responses: each is cut, none is whole")
def _():
    def script(peer):
        numbers = [peer.next_request() for _ in range(10)]
        for number in numbers:
            peer.send(peer.headers(number, [(":status", "200")], end=False), peer.data(number, b"some"))
        peer.close()

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client()
        numbers = [client.start(f"/{place}") for place in range(10)]
        for number in numbers:
            response = client.wait(number)
            expect(response.reset not in (None, NO_ERROR) and not response.is_whole, response)
        client.expect_alive()


@case("upstream: early responses with a reset of NO_ERROR are whole")
def _():
    def script(peer):
        while True:
            number = peer.next_request(whole=False)
            peer.respond(number, "413", b"big")
            peer.send(reset(number, NO_ERROR))

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client()
        number = client.start("/a", end=False, method="POST")
        client.send(client.data(number, b"x" * 100))
        response = client.wait(number)
        client.read_until(lambda: client.stream(number).is_whole, "the whole answer")
        expect((response.status, response.data) == (413, b"big"), response)
        client.expect_alive()


@case("upstream: 1xx are passed on, and too many of them are not")
def _():
    def script(peer):
        while True:
            number = peer.next_request()
            count = 3 if peer.stream(number)[":path"] == "/three" else 500
            for place in range(count):
                peer.try_send(peer.headers(number, [(":status", "103"), ("link", f"</{place}>")], end=False))
            peer.try_send(peer.headers(number, [(":status", "200")], end=False), peer.data(number, b"ok", end=True))

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client()
        response = client.get("/three")
        expect((len(response.interim), response.status, response.data) == (3, 200, b"ok"), response)
        response = client.get("/many")
        expect(response.status in (502, 503) or response.reset is not None, response)
        expect(client.get("/three").status == 200, "the next")


@case("upstream: one that speaks HTTP/1 is a 502, and is counted")
def _():
    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with Daemon(Upstream(serve), protocol="http2") as daemon:
        response = daemon.client().post("/a", b"x")
        expect(response.status in (502, 503) and response["fairlead-code"], response)


@case("upstream: one that closes at once, or says nothing, is a failure in time")
def _():
    with Daemon(Upstream(lambda connection: None), protocol="http2") as daemon:
        expect(daemon.client().get("/a").status in (502, 503), "at once")
    with Daemon(Upstream(lambda connection: threading.Event().wait(60)), protocol="http2", policy="timeouts: { request: 500ms }") as daemon:
        expect(daemon.client().get("/a").status in (503, 504), "silence")


@case("upstream: PUSH_PROMISE ends its connection")
def _():
    def script(peer):
        number = peer.next_request()
        peer.send(frame(5, 4, number, b"\0\0\0\2" + peer.encoder.encode([(":method", "GET"), (":path", "/evil")])))
        while peer.read(60):
            pass

    upstream = HTTP2Upstream(script)
    with Daemon(upstream, protocol="http2") as daemon:
        response = daemon.client().post("/a", b"x")
        expect(response.status in (502, 503), response)
        eventually(lambda: upstream.peers[0].goaway is not None, "a GOAWAY")
        expect(upstream.peers[0].goaway.error_code == PROTOCOL_ERROR, upstream.peers[0].goaway)
        daemon.expect_error("FL1105")


def attack(sentence, frames, error="FL1106", whole=True):
    """The server attacks on its first connection; that is ended and counted, its request fails, and what comes next is served on
    another connection."""

    @case(f"upstream attacks: {sentence}")
    def _():
        def script(peer):
            number = peer.next_request()
            if peer.number > 0:
                peer.respond(number)
                while True:
                    peer.respond(peer.next_request())
            while peer.ended is None:
                if not peer.try_send(frames(peer, number)):
                    break
                peer.read(0)

        upstream = HTTP2Upstream(script)
        with Daemon(upstream, protocol="http2") as daemon:
            bystander = daemon.client()
            with daemon.expect_cost_below_ten_polite():
                client = daemon.client()
                response = client.post("/a", b"x")
                expect(response.status in (502, 503) or response.reset not in (None, NO_ERROR), response)
                daemon.expect_error(error)
            expect(bystander.get("/b").status == 200, "another client")
            expect(client.get("/c").status == 200, "the client's connection")
            daemon.expect_memory_growth_below(8 * MIB)


def first(peer, number):
    """The response's head, once."""
    if number in getattr(peer, "begun", ()):
        return b""
    peer.begun = {number}
    return peer.headers(number, [(":status", "200")], end=False)


attack("PING", lambda p, n: ping().serialize() * 100)
attack("SETTINGS", lambda p, n: SettingsFrame(0).serialize() * 100)
attack("PRIORITY", lambda p, n: PriorityFrame(9, depends_on=1, stream_weight=3).serialize() * 100)
attack("WINDOW_UPDATE of the connection", lambda p, n: window(0, 1).serialize() * 100)
attack("a window past 2^31 - 1", lambda p, n: window(0, 2**31 - 1).serialize(), error="FL1105")
attack("empty DATA", lambda p, n: first(p, n) + p.data(n) * 100)
attack("CONTINUATION without an end", lambda p, n: frame(1, 0, n, b"\x88") + frame(9, 0, n, b"\x00\x01a\x01b" * 3000) * 50)
attack("an HPACK bomb (CVE-2016-6581)",
       lambda p, n: frame(1, 4, n, b"\x88\x40\x01x\x7f\xbd\x1d" + b"v" * 3900 + b"\xbe" * 12000))
attack("a header block that is none", lambda p, n: frame(1, 4, n, b"\xff" * 20), error="FL1105")
attack("DATA in front of HEADERS", lambda p, n: p.data(n, b"evil", end=True), error="FL1105")
attack("DATA on stream 0", lambda p, n: frame(0, 0, 0, b"evil"), error="FL1105")
attack("DATA on a stream nobody asked for", lambda p, n: frame(0, 0, n + 2, b"evil"), error="FL1105")
attack("HEADERS on a stream nobody asked for", lambda p, n: p.headers(n + 2, [(":status", "200")]), error="FL1105")
attack("HEADERS on a stream of its own", lambda p, n: p.headers(2, [(":status", "200")]), error="FL1105")
attack("a frame that is too long", lambda p, n: frame(0, 0, n, bytes(20000)), error="FL1105")
attack("HTTP/1 in the middle", lambda p, n: b"HTTP/1.1 200 OK\r\n\r\n", error="FL1105")


@case("upstream attacks: a head that is too long is a 502, and costs no memory")
def _():
    def script(peer):
        while True:
            number = peer.next_request()
            more = [(f"x-{place}", "v" * 1000) for place in range(90)] if peer.stream(number)[":path"] == "/long" else []
            peer.send(peer.headers(number, [(":status", "200"), *more], split=16000))

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client()
        response = client.post("/long", b"x")
        expect(response.status in (502, 503), response)
        expect(client.get("/short").status == 200, "the next")
        daemon.expect_memory_growth_below(4 * MIB)


@case("upstream attacks: more than the window it was given ends its connection")
def _():
    def script(peer):
        number = peer.next_request()
        if peer.number > 0:
            peer.respond(number)
            return
        peer.send(peer.headers(number, [(":status", "200")], end=False))
        while peer.ended is None and peer.goaway is None:
            if not peer.try_send(peer.data(number, bytes(16384)) * 10):
                break
            peer.read(0)

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client(credits=False, first=settings(INITIAL_WINDOW_SIZE=10))
        number = client.start("/a")
        daemon.expect_error("FL1105")
        expect(client.wait(number).reset not in (None, NO_ERROR), client.stream(number))
        daemon.expect_memory_growth_below(8 * MIB)


@case("upstream: an endpoint that refuses connections is passed over")
def _():
    closed = socket.create_server(("127.0.0.1", 0))
    dead = "127.0.0.1:%d" % closed.getsockname()[1]
    closed.close()
    upstream = HTTP2Upstream()
    with Daemon(upstream, protocol="http2", endpoints=[dead, upstream.address]) as daemon:
        client = daemon.client()
        for place in range(20):
            response = client.post(f"/{place}", b"hello")
            expect(response.status == 200, response)


@case("upstream: an endpoint that a reload removes finishes its streams and gets no more")
def _():
    go = threading.Event()

    def script(peer):
        while True:
            number = peer.next_request()
            if peer.stream(number)[":path"] == "/slow":
                go.wait(20)
            peer.respond(number, body=b"old")

    old, new = HTTP2Upstream(script), HTTP2Upstream()
    with Daemon(old, protocol="http2") as daemon:
        daemon.upstreams.append(new)
        client = daemon.client()
        expect(client.get("/first").data == b"old", "before")
        slow = client.start("/slow")
        eventually(lambda: len(old.heads) == 2, "the slow one")
        daemon.reload(old.address, new.address)
        expect(client.get("/second").data == b"/second", "after the reload")
        go.set()
        expect(client.wait(slow).data == b"old", "the slow one")
        eventually(lambda: old.peers[0].ended is not None or old.peers[0].goaway is not None or not old.peers[0].read(0),
                   "the old connection's end")


@case("pairing: via tells the version that each message came in")
def _():
    def answer(connection, request):
        version = b"HTTP/1.0" if request.target == "/old" else b"HTTP/1.1"
        connection.sendall(version + b" 200 OK\r\nContent-Length: 0\r\n\r\n")

    def old(daemon, path, version="1.1"):
        connection = daemon.socket()
        connection.sendall(f"GET {path} HTTP/{version}\r\nHost: web\r\nVia: 1.1 before\r\nConnection: close\r\n\r\n".encode())
        text = b""
        while piece := connection.recv(65536):
            text += piece
        return [line.split(": ")[1] for line in text.decode().split("\r\n") if line.lower().startswith("via: ")]

    upstream = HTTP1Upstream(answer)
    with Daemon(upstream, protocol="http1") as daemon:
        client = daemon.client()
        expect(client.get("/a")["via"] == "1.1 conformance", "a response")
        expect(upstream.requests[-1].all("via") == ["2 conformance"], upstream.requests[-1].fields)
        expect(client.get("/old")["via"] == "1.0 conformance", "an old response")
        expect(old(daemon, "/a") == ["1.1 conformance"], "a response")
        expect(upstream.requests[-1].all("via") == ["1.1 before", "1.1 conformance"], upstream.requests[-1].fields)
        expect(old(daemon, "/old", "1.0") == ["1.0 conformance"], "an old response")
        expect(upstream.requests[-1].all("via") == ["1.1 before", "1.0 conformance"], upstream.requests[-1].fields)
    upstream = HTTP2Upstream()
    with Daemon(upstream, protocol="http2") as daemon:
        client = daemon.client()
        expect(client.get("/a")["via"] == "2 conformance", "a response")
        expect(dict(upstream.heads[-1])["via"] == "2 conformance", upstream.heads[-1])
        expect(old(daemon, "/a") == ["2 conformance"], "a response")
        vias = [value for name, value in upstream.heads[-1] if name == "via"]
        expect(vias == ["1.1 before", "1.1 conformance"], upstream.heads[-1])


KEEP_ALIVE = "keepAlive: { interval: 100ms, timeout: 200ms }"


@case("upstream: a connection that has fallen silent is asked by PING, and goes on when that is answered")
def _():
    upstream = HTTP2Upstream()
    with Daemon(upstream, protocol="http2", policy=KEEP_ALIVE) as daemon:
        client = daemon.client()
        for count in range(1, 4):
            expect(client.get("/a").status == 200, "no answer")
            asked = lambda: len([one for one in upstream.peers[0].pings if not one[1]])
            eventually(lambda: asked() >= count, "no PING")
            # Who has answered is not asked again and again.
            expect(asked() == count, f"{asked()} PINGs")
        expect(len(upstream.peers) == 1, f"{len(upstream.peers)} connections")
        expect(daemon.metric("fairlead_http2_unanswered_pings_total") == 0, "one was counted")


@case("upstream: a connection that answers no PING is ended, and what may be sent again is")
def _():
    hold = threading.Event()

    def script(peer):
        if peer.number in (0, 2):
            # Answers one request, and says nothing more.
            peer.respond(peer.next_request())
            while not hold.is_set() and peer.socket.recv(65536):
                pass
            return
        while True:
            peer.respond(peer.next_request())

    upstream = HTTP2Upstream(script)
    with Daemon(upstream, protocol="http2", policy=KEEP_ALIVE) as daemon:
        client = daemon.client()
        expect(client.get("/first").status == 200, "no answer")
        # It may have been read, and is safe to ask for twice.
        response = client.get("/again")
        expect(response.status == 200 and response.data == b"/again", response)
        daemon_metric = lambda: daemon.metric("fairlead_http2_unanswered_pings_total")
        expect(daemon_metric() == 1 and daemon.metric("fairlead_retries_total", reason="closed") == 1, daemon_metric())
        upstream.peers[1].close()
        expect(client.get("/third").status == 200, "no answer")
        # What may have been done must not be done twice.
        response = client.post("/once", b"hello")
        expect(response.status == 502 and response["fairlead-code"] == "FL2103", response)
        expect(daemon_metric() == 2 and len(upstream.peers) == 3, f"{daemon_metric()}, {len(upstream.peers)}")
        hold.set()


@case("upstream: an idle connection that answers no PING is ended, and nobody notices")
def _():
    hold = threading.Event()

    def script(peer):
        peer.respond(peer.next_request())
        hold.wait(60)

    upstream = HTTP2Upstream(script)
    with Daemon(upstream, protocol="http2", policy=KEEP_ALIVE) as daemon:
        client = daemon.client()
        expect(client.get("/first").status == 200, "no answer")
        eventually(lambda: daemon.metric("fairlead_http2_unanswered_pings_total") == 1, "it was not ended")
        eventually(lambda: daemon.metric("fairlead_connections", direction="upstream") == 0, "it is still there")
        expect(client.get("/second").status == 200, "no answer")
        expect(len(upstream.peers) == 2, f"{len(upstream.peers)} connections")
        hold.set()
