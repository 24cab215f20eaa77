"""Going: the proxy that is told to drain while streams are open, and servers that leave their connections under load. Nothing that
was taken on is lost, and what was not can be asked again without harm."""

import queue
import signal
import socket
import subprocess
import threading

from hyperframe.frame import GoAwayFrame

from cases_grpc import STREAMS, UNARY, Channel, failure
from cases_grpc import Server as GRPCServer
from cases_websocket import Server as WebSocketServer
from cases_websocket import echo as websocket_echo
from harness import (
    NO_ERROR, PATIENCE, Daemon, HTTP1Upstream, HTTP2Upstream, binary, case, eventually, expect, settings,
    window)

NOTICE = 2**31 - 1


def by_signal(daemon):
    daemon.process.send_signal(signal.SIGTERM)


def by_command(daemon):
    subprocess.run(
        [binary("fairlead"), "--socket", f"{daemon.directory}/admin.sock", "drain", "--no-wait"], check=True,
        stdout=subprocess.DEVNULL, timeout=PATIENCE)


def goaways(client):
    return [(one.last_stream_id, one.error_code) for one in client.frames if isinstance(one, GoAwayFrame)]


def over_both(title, *ways):
    def register(function):
        for name, way in ways:
            case(f"drain: {title}, {name}")(lambda way=way: function(way))
        return function

    return register


@over_both("streams that are open are finished, and then the connection ends", ("by SIGTERM", by_signal), ("by `fairlead drain`", by_command))
def _(drain):
    for upstream, protocol in ((HTTP1Upstream(), "http1"), (HTTP2Upstream(), "http2")):
        with Daemon(upstream, protocol=protocol) as daemon:
            busy, idle = daemon.client(), daemon.client()
            expect(idle.get("/before").status == 200, "before")
            number = busy.start("/busy", end=False, method="POST")
            busy.expect_alive()
            drain(daemon)
            for client in (busy, idle):
                client.read_until(lambda: client.goaway, "the notice")
                expect(goaways(client)[0] == (NOTICE, NO_ERROR), goaways(client))
            # What was on its way as the notice came is still served.
            late = busy.get("/late")
            expect(late.status == 200, late)
            idle.read_to_end()
            expect(goaways(idle)[-1] == (1, NO_ERROR), goaways(idle))
            busy.read_until(lambda: len(goaways(busy)) == 2, "the last GOAWAY")
            expect(goaways(busy)[1] == (number + 2, NO_ERROR), goaways(busy))
            # No more is taken: neither a stream, nor a connection.
            refused = busy.start("/refused")
            try:
                socket.create_connection(daemon.address, 1).close()
                expect(False, "a connection was accepted")
            except OSError:
                pass
            busy.send(busy.data(number, b"the rest", end=True))
            expect(busy.wait(number).status == 200, busy.stream(number))
            busy.read_to_end()
            expect(busy.stream(refused).fields is None, busy.stream(refused))
            busy.close()
            idle.close()
            daemon.expect_end()
            if protocol == "http1":
                expect({one.target for one in upstream.requests} == {"/before", "/busy", "/late"}, upstream.requests)


@case("drain: under load each request that was sent before the last GOAWAY is answered, and none behind it is carried out")
def _():
    upstream = HTTP1Upstream()
    with Daemon(upstream) as daemon:
        clients = [daemon.client() for _ in range(4)]
        goes = threading.Event()
        outcomes = []

        def load(client):
            # Like a client that does not care: it goes on behind the notice, until the connection is closed.
            try:
                while client.ended is None:
                    first = client.next
                    for place in range(10):
                        client.start(f"/{id(client)}/{first + place}", method="POST")
                    client.read_until(lambda: client.ended or client.stream(first).is_over, "an answer, or the end")
                    if first > 100:
                        goes.set()
            except OSError:
                client.read_to_end()
            client.close()
            outcomes.append((client, goaways(client)))

        threads = [threading.Thread(target=load, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        goes.wait(PATIENCE)
        by_signal(daemon)
        for thread in threads:
            thread.join()
        daemon.expect_end()
        answered = 0
        for client, last in outcomes:
            expect(last[0] == (NOTICE, NO_ERROR) and last[-1][1] == NO_ERROR, last)
            for number in range(1, last[-1][0] + 1, 2):
                expect(client.stream(number).status == 200, (number, last, client.stream(number)))
                answered += 1
        expect(len(upstream.requests) == answered >= 100, f"{len(upstream.requests)} carried out, {answered} answered")


@case("drain: a gRPC stream goes on to its end, and new calls are UNAVAILABLE")
def _():
    def serve(messages, context):
        yield from messages

    server = GRPCServer({"/t.T/Chat": STREAMS(serve), "/t.T/Unary": UNARY(lambda request, context: request)})
    with Daemon(server, protocol="http2") as daemon, Channel(daemon) as channel:
        out = queue.SimpleQueue()
        call = channel.stream_stream("/t.T/Chat")(iter(out.get, None), timeout=30)
        out.put(b"before")
        expect(next(call) == b"before", "before")
        by_signal(daemon)
        unary = channel.unary_unary("/t.T/Unary")
        eventually(lambda: failure(lambda: unary(b"", timeout=PATIENCE))[0] == "UNAVAILABLE", "new calls are served")
        for place in range(10):
            out.put(b"%d" % place)
            expect(next(call) == b"%d" % place, "a message behind the GOAWAY")
        out.put(None)
        expect(list(call) == [] and call.code().name == "OK", call.code())
        daemon.expect_end()


@case("drain: a WebSocket over HTTP/2 goes on to its end")
def _():
    with Daemon(WebSocketServer(websocket_echo)) as daemon:
        client = daemon.client()
        number = client.start(end=False, fields=[
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "web"),
            (":path", "/chat"), ("sec-websocket-version", "13")])

        def say(text):
            had = len(client.stream(number).data)
            client.send(client.data(number, bytes([0x81, 0x80 | len(text)]) + bytes(4) + text))
            client.read_until(lambda: len(client.stream(number).data) == had + 2 + len(text), "the echo")
            expect(client.stream(number).data[had + 2:] == text, client.stream(number))

        say(b"before")
        by_signal(daemon)
        client.read_until(lambda: len(goaways(client)) == 2, "the last GOAWAY")
        for place in range(10):
            say(b"message %d" % place)
        client.send(client.data(number, b"\x88\x82\0\0\0\0\x03\xe8"))
        expect(client.wait(number).data.endswith(b"\x88\x02\x03\xe8"), client.stream(number))
        # RFC 6455 section 7.1.1: the server ends first, then the client.
        client.send(client.data(number, end=True))
        client.read_to_end()
        client.close()
        daemon.expect_end()


@case("drain: servers that send GOAWAY under load cost no request, POST neither")
def _():
    lock = threading.Lock()
    seen = []

    def script(peer):
        # The notice after 70 requests, as nginx and grpcio give it, or none; after 100 the number of the last that is taken on.
        # What was begun up to there is answered.
        last = NOTICE
        while True:
            number = peer.next_request()
            if number > last:
                continue
            with lock:
                seen.append(peer.stream(number)[":path"])
            peer.respond(number)
            if len(peer.answered) == 70 and peer.number % 2:
                peer.send(GoAwayFrame(0, last_stream_id=NOTICE, error_code=NO_ERROR))
            if len(peer.answered) == 100:
                last = max(peer.answered)
                peer.send(GoAwayFrame(0, last_stream_id=last, error_code=NO_ERROR))

    upstream = HTTP2Upstream(script)
    with Daemon(upstream, protocol="http2") as daemon:
        clients = [daemon.client() for _ in range(4)]
        for round_ in range(20):
            numbers = [
                [client.start(f"/{place}/{round_}/{one}", end=False, method="POST") for one in range(25)]
                for place, client in enumerate(clients)]
            for client, mine in zip(clients, numbers):
                client.send(*[client.data(number, b"body", end=True) for number in mine])
            for place, (client, mine) in enumerate(zip(clients, numbers)):
                for one, number in enumerate(mine):
                    response = client.wait(number)
                    expect((response.status, response.data) == (200, b"/%d/%d/%d" % (place, round_, one)), response)
        expect(len(seen) == len(set(seen)) == 2000, f"{len(seen)} requests have been carried out, {len(set(seen))} of them once")
        expect(len(upstream.peers) >= 20, f"{len(upstream.peers)} connections")
        # It is no failure of the server, and costs nothing of its budget.
        expect(daemon.metric("fairlead_retry_budget_exhausted_total") == 0, "the budget")


@case("drain: an answer that waits for its client's credit is sent before the connection ends")
def _():
    with Daemon(HTTP1Upstream()) as daemon:
        client = daemon.client(first=settings(INITIAL_WINDOW_SIZE=0))
        number = client.start("/a")
        client.read_until(lambda: client.stream(number).fields, "the head")
        by_signal(daemon)
        client.read_until(lambda: client.ended or len(goaways(client)) == 2, "the second GOAWAY")
        client.try_send(window(number, 1000))
        response = client.wait(number)
        expect(response.data == b"GET /a HTTP/1.1", f"{response} {goaways(client)}")
        client.close()
        daemon.expect_end()


@case("drain: of too much to do, a connection that rests is told that it ends, and ended")
def _():
    with Daemon(HTTP1Upstream(), limits="overload: { loopLag: none, memory: 1MiB }") as daemon:
        client = daemon.client()
        # Whether it is served or refused: a shard past its mark refuses most, never all.
        expect(client.get().status in (200, 503), "the answer")
        # Long before the idle timeout of a minute.
        client.expect_goaway(NO_ERROR)
