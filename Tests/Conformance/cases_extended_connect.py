"""WebSocket between the two versions of HTTP: towards servers that speak it over HTTP/2 (RFC 8441), and those that do not."""

import socket
import threading

from harness import (
    INTERNAL_ERROR, PATIENCE, PREFACE, REFUSED_STREAM, Daemon, HTTP1Upstream, HTTP2Upstream, Upstream, case, eventually,
    expect, reset, settings)
from hyperframe.frame import SettingsFrame, WindowUpdateFrame

KEY, ANSWER = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TAKES = SettingsFrame(0, {SettingsFrame.ENABLE_CONNECT_PROTOCOL: 1})


def chat(peer):
    """A server that takes every WebSocket, sends back what comes on it, and says goodbye when its client has ended."""
    sent, seen, credit = {}, 0, {0: 65_535}
    while peer.ended is None:
        while (number := peer.ready(whole=False)) is not None:
            if peer.stream(number)[":method"] != "CONNECT":
                peer.respond(number)
                continue
            sent[number], credit[number] = 0, 65_536
            peer.send(peer.headers(number, [(":status", "200"), ("sec-websocket-protocol", "chat")], end=False))
        updates = [one for one in peer.frames if isinstance(one, WindowUpdateFrame)]
        for one in updates[seen:]:
            credit[one.stream_id] = credit.get(one.stream_id, 0) + one.window_increment
        seen = len(updates)
        for number in list(sent):
            request = peer.stream(number)
            text = request.data[sent[number]:]
            while text and (count := min(len(text), credit[number], credit[0], 16_384)) > 0:
                peer.send(peer.data(number, text[:count]))
                text = text[count:]
                sent[number], credit[number], credit[0] = sent[number] + count, credit[number] - count, credit[0] - count
            if request.is_whole and not text:
                peer.send(peer.data(number, b"goodbye", end=True))
                del sent[number]
        peer.read(60)


def upgrade(daemon, path="/chat", more="", key=KEY):
    client = daemon.socket()
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n{more}\r\n".encode())
    return client


def head(client):
    """A response's status and fields, nothing behind them taken."""
    client.settimeout(PATIENCE)
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        if not piece:
            break
        text += piece
    lines = text.decode().split("\r\n")
    expect(lines[0], "no answer")
    return int(lines[0].split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}


def take(client, count):
    text = b""
    while len(text) < count and (piece := client.recv(count - len(text))):
        text += piece
    return text


def expect_asked(request, path):
    fields = dict(request)
    expect([fields.get(name) for name in (":method", ":protocol", ":path", ":authority", ":scheme")] ==
           ["CONNECT", "websocket", path, "web", "http"], request)
    expect(fields.get("sec-websocket-version") == "13", request)
    for name in ("sec-websocket-key", "upgrade", "connection", "host", "transfer-encoding", "content-length"):
        expect(name not in fields, request)


def extended(client, path="/chat"):
    """A WebSocket over HTTP/2, from our side."""
    return client.start(end=False, fields=[
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "web"), (":path", path),
        ("sec-websocket-version", "13")])


@case("websocket: an HTTP/1 client and an HTTP/2 server, with an answer to the client's key")
def _():
    upstream = HTTP2Upstream(chat, first=TAKES)
    with Daemon(upstream, protocol="http2") as daemon:
        for round_ in range(3):
            client = upgrade(daemon, f"/chat/{round_}", "Sec-WebSocket-Protocol: chat\r\n")
            # What follows at once waits for the switch.
            client.sendall(b"early;")
            status, fields = head(client)
            expect(status == 101 and fields["sec-websocket-accept"] == ANSWER, fields)
            expect((fields["upgrade"], fields["connection"].lower()) == ("websocket", "upgrade"), fields)
            expect(fields["sec-websocket-protocol"] == "chat", fields)
            expect("content-length" not in fields and "transfer-encoding" not in fields, fields)
            expect_asked(upstream.heads[round_], f"/chat/{round_}")
            client.sendall(b"late")
            expect(take(client, 10) == b"early;late", "another echo")
            client.shutdown(socket.SHUT_WR)
            expect(take(client, 7) == b"goodbye" and client.recv(1) == b"", "another end")
        expect(len(upstream.peers) == 1, f"{len(upstream.peers)} connections")
        # The connection is for requests, too.
        plain = daemon.client().get("/plain")
        expect(plain.status == 200 and len(upstream.peers) == 1, plain)
        eventually(lambda: daemon.metric("fairlead_requests_total", status_class="1xx") == 3, "they are not counted")


@case("websocket: an HTTP/2 client and an HTTP/2 server")
def _():
    upstream = HTTP2Upstream(chat, first=TAKES)
    with Daemon(upstream, protocol="http2") as daemon:
        client = daemon.client()
        numbers = [extended(client, f"/{place}") for place in range(10)]
        for number in numbers:
            client.send(client.data(number, b"x%d" % number))
        for number in numbers:
            client.read_until(lambda: client.stream(number).data == b"x%d" % number, "the echo")
            client.send(client.data(number, b"", end=True))
            response = client.wait(number)
            expect(response.data == b"x%dgoodbye" % number and response.status == 200, response)
            expect(response["sec-websocket-protocol"] == "chat" and response["sec-websocket-accept"] is None, response)
        expect(len(upstream.peers) == 1, f"{len(upstream.peers)} connections")
        for place, asked in enumerate(sorted(upstream.heads, key=lambda head: dict(head)[":path"])):
            expect_asked(asked, f"/{place}")


@case("websocket: much goes both ways between the versions")
def _():
    upstream = HTTP2Upstream(chat, first=TAKES)
    text = bytes(range(256)) * 8192
    with Daemon(upstream, protocol="http2") as daemon:
        client = upgrade(daemon)
        expect(head(client)[0] == 101, "no switch")
        threading.Thread(target=client.sendall, args=(text,), daemon=True).start()
        expect(take(client, len(text)) == text, "another echo")


@case("websocket: a request waits for SETTINGS, which may come late")
def _():
    asked, release = threading.Event(), threading.Event()

    def late(peer):
        asked.set()
        release.wait(PATIENCE)
        peer.send(TAKES)
        chat(peer)

    # Frames that say nothing come first.
    upstream = HTTP2Upstream(late, first=b"")
    with Daemon(upstream, protocol="http2") as daemon:
        client = upgrade(daemon)
        expect(asked.wait(PATIENCE), "nobody was asked")
        expect(not upstream.heads, upstream.heads)
        release.set()
        expect(head(client)[0] == 101, "no switch")
        client.sendall(b"x")
        expect(take(client, 1) == b"x", "another echo")


class Either(Upstream):
    """Speaks what its client does. Over HTTP/2 it takes no extended CONNECT; over HTTP/1 it switches and echoes."""

    def __init__(self, answer=None):
        self.two, self.one = HTTP2Upstream(first=settings()), HTTP1Upstream(answer or Either.switch)
        self.problems = []
        super().__init__()

    def serve_one(self, connection):
        start = connection.recv(3, socket.MSG_PEEK)
        (self.two if start == PREFACE[:3] else self.one).serve_one(connection)

    @staticmethod
    def switch(connection, request):
        if request.all("upgrade"):
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: %s\r\n\r\n" % ANSWER.encode())
            while piece := connection.recv(65536):
                connection.sendall(piece)
            raise EOFError
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def close(self):
        super().close()
        self.one.close()
        self.two.close()


@case("websocket: a server whose SETTINGS do not take it is asked over HTTP/1")
def _():
    upstream = Either()
    with Daemon(upstream, protocol="http2") as daemon:
        for round_ in range(3):
            client = upgrade(daemon, f"/{round_}")
            status, fields = head(client)
            expect(status == 101 and fields["sec-websocket-accept"] == ANSWER, fields)
            client.sendall(b"x")
            expect(take(client, 1) == b"x", "another echo")
            expect(upstream.one.requests[round_].target == f"/{round_}", upstream.one.requests)
            expect(upstream.one.requests[round_].all("sec-websocket-key") == [KEY], upstream.one.requests)
        # SETTINGS were asked for once.
        expect(len(upstream.two.peers) == 1 and not upstream.two.heads, upstream.two.heads)
        expect(daemon.metric("fairlead_retries_total") == 0, "it was counted as a retry")
        second = daemon.client()
        number = extended(second)
        second.read_until(lambda: second.stream(number).fields, "an answer")
        expect(second.stream(number).status == 200, second.stream(number))
        second.send(second.data(number, b"y", end=True))
        expect(second.wait(number).data == b"y", second.stream(number))


@case("websocket: with protocol: same a client over HTTP/2 gets what the server is known to take")
def _():
    upstream = Either()
    with Daemon(upstream, protocol="same") as daemon:
        client = daemon.client()
        number = extended(client)
        client.read_until(lambda: client.stream(number).fields, "an answer")
        expect(client.stream(number).status == 200 and not upstream.two.peers, client.stream(number))
        client.send(client.data(number, b"", end=True))
        client.wait(number)
    upstream = HTTP2Upstream(chat, first=TAKES)
    with Daemon(upstream, protocol="same") as daemon:
        client = daemon.client()
        expect(client.get("/first").status == 200, "")
        number = extended(client)
        client.send(client.data(number, b"", end=True))
        expect(client.wait(number).data == b"goodbye", client.stream(number))


@case("websocket: a refusal is an ordinary answer, and nothing of it stays")
def _():
    def refusing(peer):
        while True:
            peer.respond(peer.next_request(whole=False), status="403", body=b"no")

    upstream = HTTP2Upstream(refusing, first=TAKES)
    with Daemon(upstream, protocol="http2") as daemon:
        client = upgrade(daemon)
        for round_ in range(5):
            status, fields = head(client)
            expect(status == 403 and "sec-websocket-accept" not in fields, fields)
            if fields.get("transfer-encoding") == "chunked":
                expect(take(client, 12) == b"2\r\nno\r\n0\r\n\r\n", "another body")
            else:
                expect(take(client, int(fields["content-length"])) == b"no", "another body")
            if round_ < 4:
                client.sendall(
                    f"GET /again HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    f"Sec-WebSocket-Key: {KEY}\r\n\r\n".encode())
        eventually(lambda: daemon.metric("fairlead_http2_streams", direction="upstream") == 0, "streams are left")
        expect(len(upstream.peers) == 1, f"{len(upstream.peers)} connections")
        second = daemon.client()
        expect(second.wait(extended(second)).status == 403, "")


@case("websocket: a stream that the server refuses unseen is tried again, one that it breaks off ends the client")
def _():
    seen = []

    def script(peer):
        number = peer.next_request(whole=False)
        seen.append(number)
        if len(seen) == 1:
            peer.send(reset(number, REFUSED_STREAM))
            number = peer.next_request(whole=False)
        peer.send(peer.headers(number, [(":status", "200")], end=False), peer.data(number, b"hello"))
        peer.read_until(lambda: peer.stream(number).data == b"bye", "bye")
        peer.send(reset(number, INTERNAL_ERROR))
        peer.read(60)

    upstream = HTTP2Upstream(script, first=TAKES)
    with Daemon(upstream, protocol="http2") as daemon:
        client = upgrade(daemon)
        expect(head(client)[0] == 101, "no switch")
        expect(take(client, 5) == b"hello", "no hello")
        client.sendall(b"bye")
        try:
            expect(client.recv(1) == b"" and False, "it ended as if all had come")
        except ConnectionResetError:
            pass


@case("websocket: a key that is none goes to the server as it is, over HTTP/1")
def _():
    upstream = Either()
    with Daemon(upstream, protocol="http2") as daemon:
        expect(head(upgrade(daemon, key="short"))[0] == 101, "no answer")
        expect(upstream.one.requests[0].all("sec-websocket-key") == ["short"] and not upstream.two.peers, "over HTTP/2")


@case("pairing: who waits with a body for HTTP/2 does not get a connection that speaks HTTP/1")
def _():
    release = threading.Event()

    def answer(connection, request):
        release.wait(PATIENCE)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream = Either(answer)
    with Daemon(upstream, protocol="same", policy="limits: { connections: 1, pending: 10 }") as daemon:
        old = daemon.socket()
        old.sendall(b"GET /held HTTP/1.1\r\nHost: web\r\n\r\n")
        eventually(lambda: upstream.one.requests, "the first request has not come")
        client = daemon.client()
        number = client.start("/waiting", end=False, method="POST")
        client.send(client.data(number, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n", end=True))
        client.expect_alive()
        eventually(lambda: daemon.metric("fairlead_pending_requests") == 1, "nobody waits")
        release.set()
        expect(client.wait(number).status == 200, client.stream(number))
        expect([request.target for request in upstream.one.requests] == ["/held"], "it came over HTTP/1")
        expect([dict(one)[":path"] for one in upstream.two.heads] == ["/waiting"], upstream.two.heads)


def library_server(connection):
    """A server made of the libraries h2 and websockets: echoes messages in capitals."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import DataReceived, RequestReceived
    from h2.settings import SettingCodes, Settings
    from websockets.frames import Opcode
    from websockets.protocol import Protocol, Side, State

    http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    http.local_settings = Settings(client=False, initial_values={SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    http.initiate_connection()
    connection.sendall(http.data_to_send())
    sockets = {}
    while received := connection.recv(65536):
        for event in http.receive_data(received):
            if isinstance(event, RequestReceived):
                expect(dict(event.headers)[":protocol"] == "websocket", event.headers)
                sockets[event.stream_id] = Protocol(Side.SERVER, state=State.OPEN)
                http.send_headers(event.stream_id, [(":status", "200")])
            elif isinstance(event, DataReceived):
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                one = sockets[event.stream_id]
                one.receive_data(event.data)
                for frame in one.events_received():
                    if frame.opcode is Opcode.TEXT:
                        one.send_text(bytes(frame.data).upper())
                for text in one.data_to_send():
                    http.send_data(event.stream_id, text, end_stream=not text)
        connection.sendall(http.data_to_send())


@case("websocket: the library websockets over HTTP/1, and a server made of it and of the library h2")
def _():
    from websockets.sync.client import connect

    with Daemon(Upstream(library_server), protocol="http2") as daemon:
        with connect("ws://web/chat", sock=daemon.socket(), proxy=None, compression=None, open_timeout=PATIENCE) as client:
            for text in ["hello", "x" * 10_000, "ä"]:
                client.send(text)
                # Capitals of ASCII, as of bytes.
                expect(client.recv(PATIENCE).lower() == text, text)
            expect(client.ping().wait(PATIENCE), "no pong")
        expect(client.close_code == 1000, client.close_code)
