"""CONNECT, over HTTP/1 and over HTTP/2 (RFC 9113 section 8.5): what is carried, what is refused, and how each end is told."""

import socket
import struct

from harness import (
    CANCEL, PATIENCE, Daemon, Upstream, case, eventually, expect, reset)

CONNECT_ERROR = 10


class Echo(Upstream):
    """Sends back what it gets, keeps it, and says goodbye when its client has ended."""

    def __init__(self):
        self.received, self.resets = b"", 0
        super().__init__()

    def serve_one(self, connection):
        try:
            while piece := connection.recv(65536):
                self.received += piece
                connection.sendall(piece)
        except ConnectionResetError:
            self.resets += 1
            raise
        connection.sendall(b"goodbye")


def allowed(*entries):
    return ", connect: [%s]" % ", ".join(f'"{entry}"' for entry in entries)


def fields(authority, *more):
    return [(":method", "CONNECT"), (":authority", authority), *more]


def start(client, authority, *more, end=False):
    return client.start(fields=fields(authority, *more), end=end)


def opened(client, number):
    client.read_until(lambda: client.stream(number).fields is not None, "an answer to CONNECT")
    expect(client.stream(number).status == 200, client.stream(number))
    expect(dict(client.stream(number).fields) == {":status": "200"}, client.stream(number).fields)


def refused(daemon, client, authority, status, code, *more):
    response = client.wait(start(client, authority, *more))
    expect(response.status == status and response["fairlead-code"] == code, response)
    daemon.expect_error(code)


def both(test):
    """With a name, whose endpoint is found by discovery, and with an address."""

    def run():
        for authority in [lambda upstream: "web:80", lambda upstream: upstream.address]:
            upstream = Echo()
            with Daemon(upstream, listener=allowed("web:80", "127.0.0.0/8:*")) as daemon:
                test(daemon, upstream, authority(upstream))

    return run


@case("connect: over HTTP/2 bytes go both ways from the first one on, and each end is carried")
@both
def carried(daemon, upstream, authority):
    client = daemon.client()
    number = start(client, authority)
    # Before anybody has said yes.
    client.send(client.data(number, b"early;"))
    opened(client, number)
    client.read_until(lambda: client.stream(number).data == b"early;", "what was sent early")
    client.send(client.data(number, b"late"))
    client.read_until(lambda: client.stream(number).data == b"early;late", "what was sent late")
    expect(not client.stream(number).is_over, "it is over")
    client.send(client.data(number, b"", end=True))
    response = client.wait(number)
    expect(response.data == b"early;lategoodbye" and response.is_whole and response.reset is None, response)
    expect(upstream.received == b"early;late", upstream.received)
    # The connection is for other requests, too.
    other = start(client, authority)
    opened(client, other)
    client.send(client.data(other, b"x", end=True))
    expect(client.wait(other).data == b"xgoodbye", client.stream(other))
    eventually(lambda: daemon.metric("fairlead_requests_total", status_class="2xx") == 2, "they are not counted")


@case("connect: over HTTP/2 a client that has ended at once still gets what the server says")
@both
def ended_at_once(daemon, upstream, authority):
    client = daemon.client()
    response = client.wait(start(client, authority, end=True))
    expect(response.status == 200 and response.data == b"goodbye", response)


@case("connect: over HTTP/2 what a client sends after the server's end arrives, to the last byte")
def ended_by_server():
    received, ends = [], []

    def serve(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        text = b""
        try:
            while piece := connection.recv(65536):
                text += piece
            ends.append("end")
        except OSError as error:
            ends.append(error)
        received.append(text)

    upstream = Upstream(serve)
    with Daemon(upstream, listener=allowed("web:80")) as daemon:
        client = daemon.client()
        for round_ in range(20):
            number = start(client, "web:80")
            client.read_until(lambda: client.stream(number).is_over, "the server's end")
            response = client.stream(number)
            expect(response.data == b"bye" and response.reset is None, response)
            text = b"x" * 15_000
            client.send(client.data(number, text), client.data(number, text, end=True))
            eventually(lambda: len(received) > round_, "the server has seen no end")
            expect(received[round_] == text * 2 and ends[round_] == "end", (len(received[round_]), ends[round_]))


@case("connect: over HTTP/2 much goes both ways at once, as fast as it is taken")
@both
def much(daemon, upstream, authority):
    client = daemon.client()
    number = start(client, authority)
    opened(client, number)
    text = bytes(range(256)) * 4096
    sent = 0
    while sent < len(text):
        room = min(client_room(client, number, sent), 16384, len(text) - sent)
        if room > 0:
            client.send(client.data(number, text[sent:sent + room], end=sent + room == len(text)))
            sent += room
        else:
            expect(client.read(), "no credit comes")
    expect(client.wait(number).data == text + b"goodbye", len(client.stream(number).data))


def client_room(client, number, sent):
    """Credit that is left for a stream, and for the connection, after so many bytes."""
    given = {0: 0, number: 0}
    for one in client.frames:
        if type(one).__name__ == "WindowUpdateFrame" and one.stream_id in given:
            given[one.stream_id] += one.window_increment
    return min(65535 + given[0], 65536 + given[number]) - sent


@case("connect: a server that breaks off is a CONNECT_ERROR, a client that resets its stream is a reset")
@both
def broken(daemon, upstream, authority):
    client = daemon.client()
    number = start(client, authority)
    opened(client, number)
    client.send(client.data(number, b"x"))
    client.read_until(lambda: client.stream(number).data == b"x", "the echo")
    abort(upstream.connections[0])
    response = client.wait(number)
    expect(response.reset == CONNECT_ERROR, response)
    number = start(client, authority)
    opened(client, number)
    client.send(client.data(number, b"y"))
    client.read_until(lambda: client.stream(number).data == b"y", "the echo")
    client.send(reset(number, CANCEL))
    eventually(lambda: upstream.resets == 1, "the server has seen no reset")
    client.expect_alive()


def abort(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Whoever reads from it keeps it open until it is woken.
    connection.shutdown(socket.SHUT_RD)
    connection.close()


@case("connect: what is not on the list is refused with 403, over HTTP/2 on a connection that goes on")
def not_listed():
    upstream = Echo()
    port = int(upstream.address.rsplit(":", 1)[1])
    with Daemon(upstream, listener=allowed("web:80", "127.0.0.1:1", "*.svc:*")) as daemon:
        client = daemon.client()
        places = [
            "web:81", "other:80", f"127.0.0.1:{port}", "127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.2]:1", "127.1:1", "svc:1",
            "0.0.0.0:1", "[::]:1"]
        for place in places:
            refused(daemon, client, place, 403, "FL1107")
        expect(daemon.errors("FL1107") == len(places), daemon.errors("FL1107"))
        refused(daemon, client, "web:80", 400, "FL1108", ("content-length", "3"))
        # Nobody has such a name.
        refused(daemon, client, "a.svc:1", 404, "FL2003")
        # A protocol that nobody here knows is none that CONNECT is allowed for.
        response = client.wait(
            client.start(fields=[*fields("web:80"), (":protocol", "x"), (":scheme", "http"), (":path", "/")], end=False))
        expect(response.status == 405 and response["fairlead-code"] == "FL1104", response)
        expect(not upstream.connections, "the server was connected to")
        number = start(client, "web:80")
        opened(client, number)
        client.send(client.data(number, b"", end=True))
        client.wait(number)


@case("connect: an address that nobody listens on is 502, and one that does not answer 504")
def unreachable():
    closed, silent = socket.socket(), socket.create_server(("127.0.0.1", 0), backlog=0)
    closed.bind(("127.0.0.1", 0))
    with Daemon(listener=allowed("127.0.0.0/8:*"), policy="timeouts: { connect: 200ms }") as daemon:
        client = daemon.client()
        refused(daemon, client, "127.0.0.1:%d" % closed.getsockname()[1], 502, "FL2101")
        # A queue that is full answers nothing.
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
            waiting.append(one)
        response = client.wait(start(client, "127.0.0.1:%d" % silent.getsockname()[1]))
        expect(response.status == 504 and response["fairlead-code"] == "FL2102", response)
        for one in [*waiting, closed, silent]:
            one.close()


@case("connect: the proxy's own listeners are nobody's destination, by address and by name")
def loops():
    with Daemon(endpoints=["127.0.0.1:1"], listener=allowed("0.0.0.0/0:*", "[::/0]:*", "*:*")) as daemon:
        client = daemon.client()
        port = daemon.address[1]
        for place in [f"127.0.0.1:{port}", f"127.1.2.3:{port}", f"[::ffff:127.0.0.1]:{port}", f"[::1]:{port}"]:
            refused(daemon, client, place, 508, "FL2303")
        daemon.reload('"127.0.0.1:1"', f'"127.0.0.1:{port}"')
        refused(daemon, client, "web:80", 508, "FL2303")


@case("connect: over HTTP/1 bytes glued to the head follow it, and each end is carried")
@both
def old_client(daemon, upstream, authority):
    client = daemon.socket()
    client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\nearly;".encode())
    answer = b"HTTP/1.1 200 OK\r\n\r\n"
    expect(take(client, len(answer) + 6) == answer + b"early;", "another answer")
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    expect(take(client, 18) == b"GET / HTTP/1.1\r\n\r\n", "another echo")
    client.shutdown(socket.SHUT_WR)
    expect(take(client, 7) == b"goodbye" and client.recv(1) == b"", "another end")
    eventually(lambda: daemon.metric("fairlead_connections", direction="upstream") == 0, "a connection is left")


@case("connect: over HTTP/1 a refusal ends the connection: what follows may be meant for the tunnel")
def old_client_refused():
    upstream = Echo()
    with Daemon(upstream, listener=allowed("web:80")) as daemon:
        for head, status, code in [
                ("CONNECT web:81 HTTP/1.1\r\nHost: web:81\r\n", 403, "FL1107"),
                ("CONNECT web:81 HTTP/1.0\r\n", 403, "FL1107"),
                ("CONNECT web:80 HTTP/1.1\r\nHost: web\r\nContent-Length: 30\r\n", 400, "FL1108"),
                ("CONNECT web:80 HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n", 400, "FL1108"),
                ("CONNECT web HTTP/1.1\r\nHost: web\r\n", 400, "FL1002"),
        ]:
            client = daemon.socket()
            client.sendall(head.encode() + b"\r\nGET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n")
            received = b""
            while piece := client.recv(65536):
                received += piece
            expect(received.startswith(b"HTTP/1.1 %d " % status) and code.encode() in received, (head, received))
            expect(received.count(b"HTTP/1.1 ") == 1, (head, received))
        expect(not upstream.connections, "the server was connected to")


@case("connect: a silent tunnel is closed when its time is over")
def silent():
    upstream = Echo()
    policy = "timeouts: { tunnel: 200ms, idle: 60s }"
    with Daemon(upstream, listener=allowed("web:80"), policy=policy) as daemon:
        client = daemon.client()
        number = start(client, "web:80")
        opened(client, number)
        client.wait(number)
        eventually(lambda: daemon.metric("fairlead_connections", direction="upstream") == 0, "a connection is left")
        client.expect_alive()


def take(connection, count):
    connection.settimeout(PATIENCE)
    taken = b""
    while len(taken) < count and (piece := connection.recv(count - len(taken))):
        taken += piece
    return taken
