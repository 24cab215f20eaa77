"""Credit: a slow reader holds what its window says and no more, and nobody else waits for it."""

import hashlib
import threading

from harness import Daemon, HTTP1Upstream, HTTP2Upstream, Upstream, case, expect, reset, settings, window
from hyperframe.frame import WindowUpdateFrame

MIB = 1 << 20


@case("flow: with one stalled reader among 100 streams the others finish, and memory is bounded")
def _():
    def answer(connection, request):
        size = 300_000 if request.target == "/stalled" else 50_000
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"y" * size)

    for upstream, protocol in ((HTTP1Upstream(answer), "http1"), (HTTP2Upstream(large), "http2")):
        with Daemon(upstream, protocol=protocol) as daemon:
            # A stream that is given no credit beyond its first 1,000 bytes, and 99 that are.
            client = daemon.client(first=settings(INITIAL_WINDOW_SIZE=1000), credits=False)
            client.send(window(0, 2**30))
            stalled = client.start("/stalled")
            others = [client.start("/other") for _ in range(99)]
            for number in others:
                client.send(window(number, 60_000))
            for number in others:
                response = client.wait(number)
                expect(len(response.data) == 50_000, f"{number}: {len(response.data)} bytes, {response.status} {response.fields} reset {response.reset}")
            expect(len(client.stream(stalled).data) <= 1000, "the stalled one got more than its window")
            expect(not client.stream(stalled).is_over, "the stalled one is over")
            daemon.expect_memory_growth_below(24 * MIB)
            for _ in range(10):
                client.send(window(stalled, 30_000))
            expect(len(client.wait(stalled).data) == 300_000, "the stalled one, once it reads")


def large(peer):
    """Answers with long bodies, each as fast as the windows allow."""
    waiting, seen, credit = {}, 0, {0: 65_535}
    while peer.ended is None:
        number = peer.ready(whole=True)
        if number is not None:
            waiting[number] = 300_000 if peer.stream(number)[":path"] == "/stalled" else 50_000
            credit.setdefault(number, 65_536)
            peer.send(peer.headers(number, [(":status", "200")], end=False))
            continue
        updates = [one for one in peer.frames if isinstance(one, WindowUpdateFrame)]
        for one in updates[seen:]:
            credit[one.stream_id] = credit.get(one.stream_id, 65_536) + one.window_increment
        seen = len(updates)
        sent = False
        for number, left in list(waiting.items()):
            count = min(left, credit[number], credit[0], 16_000)
            if count <= 0:
                continue
            peer.send(peer.data(number, b"y" * count, end=count == left))
            credit[number], credit[0], waiting[number], sent = credit[number] - count, credit[0] - count, left - count, True
            if count == left:
                del waiting[number]
        peer.read(0 if sent else 0.05)


@case("flow: credit of streams that are reset with their bodies unread comes back to the connection")
def _():
    release = threading.Event()

    def answer(connection, request):
        release.wait(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream = HTTP1Upstream(answer)
    with Daemon(upstream, policy="limits: { connections: 1, pending: 100 }") as daemon:
        client = daemon.client()
        first, sent = client.start("/first"), 0

        def room():
            given = sum(one.window_increment for one in client.frames
                        if isinstance(one, WindowUpdateFrame) and one.stream_id == 0)
            return 65_535 + given - sent

        # More in all than the connection's window, each of them held until it is reset.
        for _ in range(60):
            client.read_until(lambda: room() >= 60_000, "credit for the connection")
            number = client.start("/waiting", end=False, method="POST")
            client.send(*(client.data(number, b"x" * 15_000) for _ in range(4)))
            sent += 60_000
            client.expect_alive()
            client.send(reset(number))
        release.set()
        expect(client.wait(first).status == 200, client.stream(first))
        expect(client.post("/last", b"x" * 15_000).status == 200, "the last one")


@case("flow: a client that gives no credit for the connection gets its first window and no more")
def _():
    def answer(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"y" * 1_000_000)

    with Daemon(HTTP1Upstream(answer)) as daemon:
        client = daemon.client(first=settings(INITIAL_WINDOW_SIZE=1_000_000), credits=False)
        number = client.start("/large")
        client.read_until(lambda: len(client.stream(number).data) == 65_535, "the first window")
        client.expect_alive()
        expect(len(client.stream(number).data) == 65_535, "more than the window")
        client.send(window(0, 2_000_000))
        expect(len(client.wait(number).data) == 1_000_000, "the rest")


@case("flow: a window that SETTINGS make smaller holds what is under way")
def _():
    def answer(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"y" * 200_000)

    with Daemon(HTTP1Upstream(answer)) as daemon:
        client = daemon.client(credits=False)
        number = client.start("/large")
        client.read_until(lambda: len(client.stream(number).data) >= 60_000, "the first window")
        client.send(settings(INITIAL_WINDOW_SIZE=0), window(0, 1_000_000), window(number, 65_535 + 100))
        client.read_until(lambda: len(client.stream(number).data) == 65_635, "100 bytes more")
        client.expect_alive()
        expect(len(client.stream(number).data) == 65_635, len(client.stream(number).data))
        client.send(settings(INITIAL_WINDOW_SIZE=1_000_000))
        expect(len(client.wait(number).data) == 200_000, "the rest")


@case("flow: a client with frames of up to 1 MiB is sent whole bodies")
def _():
    def answer(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(range(250)) * 4000)

    with Daemon(HTTP1Upstream(answer)) as daemon:
        client = daemon.client(first=settings(INITIAL_WINDOW_SIZE=2_000_000, MAX_FRAME_SIZE=1 << 20))
        client.send(window(0, 2_000_000))
        response = client.get("/large")
        expect(response.data == bytes(range(250)) * 4000, f"{len(response.data)} bytes")


def stalled_upload(title, make_upstream, protocol):
    @case(f"flow: a server that does not read stops the client's upload within the window ({title})")
    def _():
        with Daemon(make_upstream(), protocol=protocol) as daemon:
            client = daemon.client()
            client.expect_alive()
            number = client.start("/upload", end=False, method="POST")
            credit = 65_535
            sent = seen = 0
            idle = 0
            while idle < 20 and sent < 64 * MIB:
                updates = [one for one in client.frames if isinstance(one, WindowUpdateFrame)]
                credit += sum(one.window_increment for one in updates[seen:] if one.stream_id == number)
                seen = len(updates)
                if credit > 0:
                    count = min(credit, 16_384)
                    client.send(client.data(number, bytes(count)))
                    credit, sent, idle = credit - count, sent + count, 0
                else:
                    idle += 0 if client.read(0.05) else 1
            # What the kernel's buffers take, and what the proxy holds.
            expect(sent < 16 * MIB, f"{sent} bytes were taken")
            daemon.expect_memory_growth_below(2 * MIB)
            expect(client.goaway is None, "a GOAWAY")


stalled_upload("HTTP/1", lambda: Upstream(lambda connection: threading.Event().wait(60)), "http1")
stalled_upload("HTTP/2", lambda: HTTP2Upstream(lambda peer: threading.Event().wait(60)), "http2")


@case("flow: a server that stops reading one stream does not stop the others")
def _():
    def script(peer):
        peer.credits = False
        while True:
            number = peer.next_request(whole=False)
            if peer.stream(number)[":path"] == "/stalled":
                continue
            peer.read_until(lambda: peer.stream(number).is_whole, "the body")
            peer.respond(number, body=b"%d" % len(peer.stream(number).data))

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        client = daemon.client()
        client.expect_alive()
        stalled = client.start("/stalled", end=False, method="POST")
        client.send(client.data(stalled, bytes(16_000)), client.data(stalled, bytes(16_000)))
        for _ in range(20):
            expect(client.post("/other", b"z" * 1000).data == b"1000", "another stream")
        client.expect_alive()


@case("flow: 4 MiB go both ways through 64 KiB windows unharmed")
def _():
    size = 4 * MIB
    body = bytes(range(256)) * (size // 256)
    upstream = HTTP1Upstream(lambda connection, request: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Sum: %s\r\n\r\n" % (
            len(request.body), hashlib.sha256(request.body).hexdigest().encode()) + request.body))
    with Daemon(upstream) as daemon:
        client = daemon.client(credits=True)
        client.expect_alive()
        number = client.start("/echo", end=False, method="POST")
        stream_credit = connection_credit = 65_535
        seen = at = 0
        while at < size:
            updates = [one for one in client.frames if isinstance(one, WindowUpdateFrame)]
            for one in updates[seen:]:
                if one.stream_id == number:
                    stream_credit += one.window_increment
                elif one.stream_id == 0:
                    connection_credit += one.window_increment
            seen = len(updates)
            count = min(stream_credit, connection_credit, 16_384, size - at)
            if count <= 0:
                expect(client.read(), "no credit comes")
                continue
            client.send(client.data(number, body[at:at + count], end=at + count == size))
            at, stream_credit, connection_credit = at + count, stream_credit - count, connection_credit - count
            client.read(0)
        response = client.wait(number)
        expect(response.data == body, f"{len(response.data)} of {size} bytes came back")
        expect(response["x-sum"] == hashlib.sha256(body).hexdigest(), "the server got something else")
        daemon.expect_memory_growth_below(8 * MIB)
