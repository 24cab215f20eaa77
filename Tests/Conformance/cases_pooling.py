"""Connections to HTTP/2 endpoints and who waits for them: places that come free, credit that comes back, ends that peers do not
answer."""

import socket
import threading

from harness import (
    Daemon, HTTP1Upstream, HTTP2Upstream, WindowUpdateFrame, case, eventually, expect, ping, reset, settings)


@case("pooling: an idle connection to one endpoint gives its place to a request for another")
def _():
    first, second = HTTP2Upstream(), HTTP2Upstream()
    with Daemon(protocol="http2", endpoints=[first.address, second.address],
                policy="limits: { connections: 1, pending: 8 }\ntimeouts: { request: 2s }") as daemon:
        daemon.upstreams += [first, second]
        client = daemon.client()
        for place in range(20):
            response = client.get(f"/{place}")
            expect(response.status == 200, f"request {place}: {response}")


@case("pooling: requests in HTTP/1 and HTTP/2 take turns in the only place there is")
def _():
    class Both(HTTP1Upstream):
        def serve_one(self, connection):
            if connection.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL) == b"PRI ":
                HTTP2Upstream.serve_one(self, connection)
            else:
                super().serve_one(connection)

    upstream = Both()
    upstream.script, upstream.first, upstream.heads, upstream.peers = None, None, [], []
    with Daemon(upstream, protocol="same",
                policy="limits: { connections: 1, pending: 8 }\ntimeouts: { request: 2s }") as daemon:
        client = daemon.client()
        for place in range(5):
            response = client.get(f"/{place}")
            expect(response.status == 200, f"request {place}: {response}")
            with daemon.socket() as old:
                old.sendall(b"GET /old HTTP/1.1\r\nhost: web\r\n\r\n")
                answer = old.recv(65536)
                expect(answer.startswith(b"HTTP/1.1 200"), f"request {place}: {answer}")


@case("pooling: a request that waits to be spoken to in HTTP/2 does not get a connection with HTTP/1")
def _():
    answers = []

    class Both(HTTP1Upstream):
        def serve_one(self, connection):
            if connection.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL) == b"PRI ":
                HTTP2Upstream.serve_one(self, connection)
            else:
                super().serve_one(connection)

    def answer(connection, request):
        answers.append(connection)
        if request.target != "/first":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream = Both(answer)
    upstream.script, upstream.first, upstream.heads, upstream.peers = None, None, [], []
    with Daemon(upstream, protocol="same",
                policy="limits: { connections: 1, pending: 8 }\ntimeouts: { request: 3s }") as daemon:
        old = daemon.socket()
        old.sendall(b"GET /first HTTP/1.1\r\nhost: web\r\n\r\n")
        eventually(lambda: answers, "the first does not arrive")
        client = daemon.client()
        number = client.start("/second", end=False, method="POST")
        client.send(client.data(number, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n", end=True))
        eventually(lambda: daemon.metric("fairlead_pending_requests") == 1, "the second does not wait")
        answers[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        response = client.wait(number)
        expect(response.status == 200, response)
        expect([one.target for one in upstream.requests] == ["/first"], [one.line for one in upstream.requests])
        expect(dict(upstream.heads[0])[":path"] == "/second", upstream.heads)


@case("pooling: who waits for a stream gets one when the endpoint allows more of them")
def _():
    def script(peer):
        number = peer.next_request()
        while True:
            peer.read(60)
            if allow.get("more"):
                peer.send(settings(MAX_CONCURRENT_STREAMS=100))
                break
        while True:
            other = peer.next_request()
            peer.respond(other)

    allow = {}
    upstream = HTTP2Upstream(script, first=settings(MAX_CONCURRENT_STREAMS=1))
    with Daemon(upstream, protocol="http2",
                policy="limits: { connections: 1, pending: 8 }\ntimeouts: { request: 60s }") as daemon:
        client = daemon.client()
        held = client.start("/held")
        eventually(lambda: upstream.peers and upstream.peers[0].acknowledged >= 0 and upstream.heads, "no request")
        numbers = [client.start(f"/{place}") for place in range(3)]
        eventually(lambda: daemon.metric("fairlead_pending_requests") == 3, "they do not wait")
        allow["more"] = True
        upstream.peers[0].send(ping())
        for number in numbers:
            response = client.wait(number)
            expect(response.status == 200, response)
        client.send(reset(held))


@case("pooling: responses to clients that read slowly do not use up the connection's window")
def _():
    size = 60_000
    sent = {"bytes": 0, "responses": 0}

    def window_of(peer):
        return 65_535 - sent["bytes"] + sum(
            one.window_increment for one in peer.frames
            if isinstance(one, WindowUpdateFrame) and one.stream_id == 0)

    def script(peer):
        while True:
            number = peer.next_request()
            while window_of(peer) < size:
                if not peer.read(60):
                    return
            out = peer.headers(number, [(":status", "200")], end=False)
            for at in range(0, size, 15_000):
                out += peer.data(number, b"x" * 15_000, end=at + 15_000 == size)
            peer.send(out)
            sent["bytes"] += size
            sent["responses"] += 1

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client(first=settings(INITIAL_WINDOW_SIZE=0), credits=False)
        for turn in range(1, 9):
            numbers = [client.start("/large") for _ in range(10)]
            eventually(
                lambda: sent["responses"] == turn * len(numbers),
                lambda: f"there was credit for {sent['responses']} responses, and no more")
            for number in numbers:
                client.send(reset(number))
            client.expect_alive()


@case("pooling: bodies whose stream is reset while they wait do not use up the client's window")
def _():
    def script(peer):
        while True:
            if not peer.read(60):
                return

    upstream = HTTP2Upstream(script, first=settings(INITIAL_WINDOW_SIZE=0))
    with Daemon(upstream, protocol="http2", policy="timeouts: { request: 30s }") as daemon:
        client = daemon.client()
        client.expect_alive()
        total = 0
        for _ in range(20):
            number = client.start("/up", end=False, method="POST")
            for _ in range(4):
                client.send(client.data(number, b"x" * 16_000))
                total += 16_000
            client.expect_alive()
            client.send(reset(number))
            client.expect_alive()

        def left():
            client.read(0)
            credit = sum(
                one.window_increment for one in client.frames
                if isinstance(one, WindowUpdateFrame) and one.stream_id == 0)
            return 65_535 + credit - total

        # Credit comes when half of the window is used.
        eventually(lambda: left() > 500_000, lambda: f"{left()} bytes of the window are left")


@case("pooling: an answer that comes before its request was taken ends the stream")
def _():
    def script(peer):
        while True:
            number = peer.next_request(whole=False)
            peer.respond(number, body=b"no")

    upstream = HTTP2Upstream(script, first=settings(INITIAL_WINDOW_SIZE=0))
    with Daemon(upstream, protocol="http2", policy="timeouts: { request: 4s }") as daemon:
        client = daemon.client()
        # Until its settings have come, a window is as large as the standard says.
        client.get("/first")
        for _ in range(3):
            expect(client.post("/up", b"x" * 10_000).data == b"no", "the answer")
        eventually(lambda: daemon.metric("fairlead_http2_streams", direction="upstream") == 0, "streams are left")


@case("pooling: an idle connection ends when its service's idle time is over")
def _():
    for idle in ("300ms", "1200ms"):
        upstream = HTTP2Upstream()
        with Daemon(upstream, protocol="http2", policy=f"timeouts: {{ idle: {idle} }}") as daemon:
            client = daemon.client()
            expect(client.get("/a").status == 200, "")
            peer = upstream.peers[0]
            eventually(lambda: peer.ended and peer.goaway, f"it stays, with an idle time of {idle}")


def silent(upstream_connections):
    """Answers one request, and from then on reads all and never closes."""
    def script(peer):
        peer.respond(peer.next_request())
        while peer.read(60):
            pass
        upstream_connections.append(peer)
        # The daemon has ended its side: ours stays.
        threading.Event().wait(30)
    return script


@case("pooling: an endpoint that does not close its side is not waited for without end")
def _():
    ended = []
    upstream = HTTP2Upstream(silent(ended))
    with Daemon(upstream, protocol="http2", policy="timeouts: { request: 2s, idle: 500ms }") as daemon:
        client = daemon.client()
        expect(client.get("/a").status == 200, "")
        client.close()
        eventually(lambda: ended, "it does not end")
        eventually(lambda: daemon.metric("fairlead_endpoint_connections") == 0, "the connection stays")


@case("pooling: a connection whose only client left while it was made ages like any other")
def _():
    # A listener with a full queue: connecting takes a while.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    full = []
    for _ in range(3):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        full.append(one)
    with Daemon(protocol="http2", endpoints=["127.0.0.1:%d" % listener.getsockname()[1]],
                policy="timeouts: { request: 8s, idle: 500ms, connect: 8s }") as daemon:
        client = daemon.client()
        number = client.start("/a")
        eventually(lambda: daemon.metric("fairlead_endpoint_connections") == 1, "it does not connect")
        client.send(reset(number))
        client.expect_alive()
        for one in full:
            one.close()
        listener.settimeout(8)
        # Which of them the queue holds by now is the kernel's affair; only the daemon says PRI.
        while True:
            connection, _ = listener.accept()
            connection.settimeout(1)
            try:
                if connection.recv(3) == b"PRI":
                    break
            except OSError:
                pass
        connection.sendall(settings().serialize())
        eventually(lambda: daemon.metric("fairlead_endpoint_connections") == 0, "the connection stays", 5)
        connection.close()
        listener.close()
