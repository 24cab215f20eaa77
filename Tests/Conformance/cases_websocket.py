"""WebSocket with a real client and server (websockets) at the two ends. Over HTTP/2 the same client speaks through a bridge that does
what a browser does (RFC 8441), with the h2 package. A proxy is none of the two ends: what it shows of RFC 6455 is that the handshake's
answers are the server's, and that every byte behind it arrives as it was sent, right or wrong."""

import base64
import contextlib
import ctypes
import hashlib
import logging
import os
import select
import socket
import struct
import threading

import h2.config
import h2.connection
import h2.events
import websockets.exceptions
import websockets.sync.client
import websockets.sync.server
from h2.settings import SettingCodes

from harness import PATIENCE, Daemon, Upstream, case, eventually, expect

MIB = 1 << 20
SIZES = (0, 1, 125, 126, 65_535, 65_536, 200_000, MIB)

# A peer that breaks off is what some cases are about.
logging.getLogger("websockets").setLevel(logging.CRITICAL)


class Server:
    """websockets' server. `handle(connection)` is run in a thread for each."""

    def __init__(self, handle, **options):
        self.problems, self.handle, self.requests, self.connections = [], handle, [], []
        self.closes = []
        options = {"compression": None, "max_size": 2 * MIB, "ping_interval": None, **options}
        self.server = websockets.sync.server.serve(self._run, "127.0.0.1", 0, **options)
        self.address = "127.0.0.1:%d" % self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _run(self, connection):
        self.requests.append(connection.request)
        self.connections.append(connection)
        try:
            self.handle(connection)
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            connection.close()
            self.closes.append((connection.close_code, connection.close_reason))

    def close(self):
        self.server.shutdown()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)


def echo(connection):
    for message in connection:
        connection.send(message)


class Bridge:
    """A client's HTTP/1 handshake as an extended CONNECT, and its bytes as DATA: `inside` is the end that the client has."""

    def __init__(self, address):
        self.inside, self.outside = socket.socketpair()
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.allows_connect = self.status = self.reset = self.goaway = None
        self.is_over = False
        self.waiting, self.ends = b"", False  # For the client: it may be slow, which must not stop what it sends.
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            self.connection.initiate_connection()
            self._send()
            while self.allows_connect is None and self._receive():
                pass
            self._handshake()
            is_open = True
            self.outside.setblocking(False)
            while not self.is_over:
                room = self.connection.local_flow_control_window(1) if is_open else 0
                ready, writable, _ = select.select(
                    [self.socket] + ([self.outside] if room else []), [self.outside] if self.waiting else [], [], 30)
                if writable:
                    self._write()
                if self.outside in ready:
                    piece = self.outside.recv(min(room, 16_384))
                    is_open = bool(piece)
                    self.connection.send_data(1, piece, end_stream=not piece)
                    self._send()
                if self.socket in ready and not self._receive():
                    break
        for one in (self.outside, self.socket):
            one.close()

    def _send(self):
        self.socket.sendall(self.connection.data_to_send())

    def _write(self, data=b"", ends=False):
        """To the client."""
        self.waiting, self.ends = self.waiting + data, self.ends or ends
        with contextlib.suppress(BlockingIOError):
            self.waiting = self.waiting[self.outside.send(self.waiting):]
        if self.ends and not self.waiting:
            self.outside.shutdown(socket.SHUT_WR)

    def _handshake(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.outside.recv(1)
            if not piece:
                raise OSError
            head += piece
        first, *lines = head.decode().strip().split("\r\n")
        fields = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        have = dict(fields)
        self.key = have["sec-websocket-key"]
        of_http1 = ("host", "connection", "upgrade", "sec-websocket-key")
        self.connection.send_headers(1, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", have["host"]),
            (":path", first.split(" ")[1]), *[field for field in fields if field[0] not in of_http1]])
        self._send()

    def _receive(self):
        piece = self.socket.recv(65_536)
        if not piece:
            self.outside.shutdown(socket.SHUT_WR)
            self.is_over = True
            return False
        for event in self.connection.receive_data(piece):
            self._take(event)
        self._send()
        return True

    def _take(self, event):
        if isinstance(event, h2.events.RemoteSettingsChanged):
            changed = event.changed_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
            self.allows_connect = changed is not None and changed.new_value == 1
        elif isinstance(event, h2.events.ResponseReceived):
            fields = dict(event.headers)
            self.status = fields.pop(":status")
            if self.status == "200":
                first = "101 Switching Protocols"
                digest = hashlib.sha1((self.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
                fields |= {
                    "upgrade": "websocket", "connection": "upgrade",
                    "sec-websocket-accept": base64.b64encode(digest).decode()}
            else:
                first = f"{self.status} Refused"
            lines = [f"HTTP/1.1 {first}", *[f"{name}: {value}" for name, value in fields.items()], "", ""]
            self._write("\r\n".join(lines).encode())
        elif isinstance(event, h2.events.DataReceived):
            self._write(event.data)
            self.connection.acknowledge_received_data(event.flow_controlled_length, 1)
        elif isinstance(event, h2.events.StreamEnded):
            self._write(ends=True)
        elif isinstance(event, h2.events.StreamReset):
            self.reset = int(event.error_code)
            self.outside.shutdown(socket.SHUT_RDWR)
            self.is_over = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code)

    def abort(self):
        """Ends the connection without a word."""
        break_off(self.socket)

    def close(self):
        for one in (self.inside, self.socket):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.inside.close()
        self.thread.join(PATIENCE)


class Plain:
    """The same for HTTP/1: nothing between."""

    reset = goaway = None

    def __init__(self, address):
        self.inside = socket.create_connection(address, timeout=PATIENCE)

    def abort(self):
        break_off(self.inside)

    def close(self):
        self.inside.close()


def break_off(connection):
    """Has the other side sent a reset, whatever another thread does with the socket: what connecting to no address does."""
    ctypes.CDLL(None).connect(connection.fileno(), bytes(16), 16)


def over_both(sentence):
    """A case for each version of HTTP: `function(way, daemon)`, where `way(daemon)` opens a connection."""

    def register(function):
        for name, way in (("HTTP/1", Plain), ("HTTP/2", Bridge)):
            case(f"websocket over {name}: {sentence}")(lambda way=way: function(way))
        return function

    return register


@contextlib.contextmanager
def connected(way, daemon, **options):
    """websockets' client through the daemon, and the connection under it."""
    wire = way(daemon.address)
    options = {"compression": None, "max_size": 2 * MIB, "ping_interval": None, "close_timeout": 2, **options}
    try:
        with websockets.sync.client.connect("ws://web/chat?x=1", sock=wire.inside, proxy=None, **options) as client:
            yield client, wire
    finally:
        wire.close()


@over_both("text and binary messages, from empty to 1 MiB")
def _(way):
    with Daemon(Server(echo)) as daemon, connected(way, daemon) as (client, wire):
        for size in SIZES:
            message = os.urandom(size)
            client.send(message)
            expect(client.recv(PATIENCE) == message, f"{size} bytes")
            text = ("grüße ☺ 😈 " * (size // 16 + 1))[:size]
            client.send(text)
            expect(client.recv(PATIENCE) == text, f"{size} characters")
        daemon.expect_memory_growth_below(8 * MIB)


@over_both("many messages at once, both ways")
def _(way):
    def chatter(connection):
        sender = threading.Thread(target=lambda: [connection.send(b"%d" % place * 20) for place in range(2_000)])
        sender.start()
        received = [connection.recv() for _ in range(2_000)]
        sender.join()
        connection.send("all" if received == [b"%d" % place * 10 for place in range(2_000)] else "not all")
        connection.recv()

    with Daemon(Server(chatter)) as daemon, connected(way, daemon) as (client, wire):
        sender = threading.Thread(target=lambda: [client.send(b"%d" % place * 10) for place in range(2_000)])
        sender.start()
        expect([client.recv(PATIENCE) for _ in range(2_000)] == [b"%d" % place * 20 for place in range(2_000)], "lost")
        sender.join()
        expect(client.recv(PATIENCE) == "all", "the server has not got them")


@over_both("a message in fragments stays in these fragments")
def _(way):
    def serve(connection):
        while True:
            connection.send(list(connection.recv_streaming()))

    with Daemon(Server(serve)) as daemon, connected(way, daemon) as (client, wire):
        for fragments in ([b"a", b"", b"c" * 70_000, b"d"], ["ä", "ö" * 200, ""], [b"x"] * 500):
            client.send(iter(fragments))
            got = list(client.recv_streaming())
            expect([one for one in got if one] == [one for one in fragments if one], f"{[len(one) for one in got]}")


@over_both("pings of either side are answered by the other, between messages and in them")
def _(way):
    answered = []

    def serve(connection):
        for message in connection:
            waiter = connection.ping(b"from the server" + bytes(100))
            connection.send(message)
            answered.append(waiter.wait(PATIENCE))

    with Daemon(Server(serve)) as daemon, connected(way, daemon) as (client, wire):
        for _ in range(3):
            expect(client.ping().wait(PATIENCE), "no pong")
            client.send("x")
            expect(client.recv(PATIENCE) == "x", "no echo")
        eventually(lambda: answered == [True] * 3, lambda: f"{answered}")


@over_both("close codes and reasons, whoever closes")
def _(way):
    def serve(connection):
        code = int(connection.recv())
        if code:
            connection.close(code, f"grüße {code}")
        else:
            connection.recv()

    server = Server(serve)
    with Daemon(server) as daemon:
        for code in (1000, 1001, 1008, 1011, 3000, 4999):
            with connected(way, daemon) as (client, wire):
                client.send(f"{code}")
                try:
                    client.recv(PATIENCE)
                except websockets.exceptions.ConnectionClosed as closed:
                    expect((closed.rcvd.code, closed.rcvd.reason) == (code, f"grüße {code}"), closed)
            eventually(lambda: len(server.closes) == 1, "the server has not ended")
            server.closes.clear()
            with connected(way, daemon) as (client, wire):
                client.send("0")
                client.close(code, "tschüß")
                eventually(lambda: server.closes, "the server has not ended")
            expect(server.closes.pop() == (code, "tschüß"), (code, server.closes))
            expect(wire.reset in (None, 0) and wire.goaway is None, (wire.reset, wire.goaway))


@over_both("a server that refuses is heard out, and the next connection is served")
def _(way):
    def choose(connection, request):
        return connection.respond(403, "not you\n") if "x-user" not in request.headers else None

    with Daemon(Server(echo, process_request=choose)) as daemon:
        try:
            with connected(way, daemon):
                pass
            expect(False, "it was let in")
        except websockets.exceptions.InvalidStatus as refused:
            response = refused.response
            expect((response.status_code, response.body) == (403, b"not you\n"), response)
        with connected(way, daemon, additional_headers={"X-User": "me"}) as (client, wire):
            client.send("in")
            expect(client.recv(PATIENCE) == "in", "no echo")


@over_both("subprotocol, extensions, version and origin are the two ends' own")
def _(way):
    server = Server(echo, subprotocols=["chat.v1", "other"], compression="deflate")
    with Daemon(server) as daemon:
        with connected(
                way, daemon, subprotocols=["chat.v2", "chat.v1"], compression="deflate", origin="http://shop.local",
                additional_headers=[("X-Two", "a"), ("X-Two", "b")]) as (client, wire):
            expect(client.subprotocol == "chat.v1", client.subprotocol)
            eventually(lambda: server.connections, "the server has not begun")
            request = server.requests[0]
            expect(request.path == "/chat?x=1" and request.headers["host"] == "web", request)
            expect(request.headers.get_all("x-two") == ["a", "b"], request)
            for name in ("sec-websocket-protocol", "sec-websocket-extensions", "sec-websocket-version", "origin"):
                expect(request.headers[name] == client.request.headers[name], (name, request))
            sent, received = server.connections[0].response.headers, client.response.headers
            for name in ("sec-websocket-protocol", "sec-websocket-extensions"):
                expect(received[name] == sent[name], (name, received))
            if way is Plain:
                expect(request.headers["sec-websocket-key"] == client.request.headers["sec-websocket-key"], request)
                expect(received["sec-websocket-accept"] == sent["sec-websocket-accept"], received)
            else:
                expect(len(base64.b64decode(request.headers["sec-websocket-key"])) == 16, request)
            # With the extension in use, RSV1 is set in what goes by.
            message = "compressed " * 10_000
            client.send(message)
            expect(client.recv(PATIENCE) == message, "no echo")


@over_both("a client that is gone without a word is gone for the server")
def _(way):
    server = Server(echo)
    with Daemon(server) as daemon:
        with connected(way, daemon) as (client, wire):
            client.send("x")
            expect(client.recv(PATIENCE) == "x", "no echo")
            wire.abort()
            eventually(lambda: server.closes, "the server has not been told")
        expect(server.closes[0][0] == 1006, server.closes)


@over_both("a server that is gone without a word is gone for the client, whose connection is ended or whose stream is reset")
def _(way):
    server = Server(echo)
    with Daemon(server) as daemon, connected(way, daemon) as (client, wire):
        client.send("x")
        expect(client.recv(PATIENCE) == "x", "no echo")
        peer = server.connections[0].socket
        break_off(peer)
        try:
            client.recv(PATIENCE)
            expect(False, "a message has come")
        except websockets.exceptions.ConnectionClosed as closed:
            expect(closed.rcvd is None, closed)
        if way is Bridge:
            eventually(lambda: wire.is_over, "the stream is not over")
            expect(wire.reset not in (None, 0) and wire.goaway is None, (wire.reset, wire.goaway))


@over_both("every byte behind the handshake is carried as it is: masks, reserved bits and codes, and what is no frame at all")
def _(way):
    received = []

    def serve(connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        # Glued to the answer, as a server may that speaks first.
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept + b"\r\n\r\n\x81\x05first")
        while piece := connection.recv(65_536):
            received.append(piece)
            connection.sendall(piece)
        connection.sendall(b"end")

    def frame(first, payload, mask=None):
        length = len(payload)
        head = bytes([first, (0x80 if mask else 0) | (length if length < 126 else 126 if length < 65_536 else 127)])
        if length >= 126:
            head += struct.pack(">H" if length < 65_536 else ">Q", length)
        if mask:
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        return head + (mask or b"") + payload

    mask = b"\x01\xfe\x80\x7f"
    pieces = [
        frame(0x81, b"masked", mask), frame(0x82, b"mask of nothing", bytes(4)), frame(0x82, b"not masked, by a client"),
        *[frame(0x81 | bits, b"reserved bits", mask) for bits in (0x10, 0x20, 0x40, 0x70)],
        *[frame(0x80 | code, b"reserved code", mask) for code in (*range(3, 8), *range(11, 16))],
        frame(0x89, bytes(200), mask), frame(0x09, b"a ping in fragments", mask), frame(0x80, b"goes on with nothing", mask),
        frame(0x81, b"\xff\xfe no UTF-8 \xc0", mask), frame(0x88, b"\x00", mask), frame(0x88, struct.pack(">H", 1005), mask),
        frame(0x81, b"behind a close frame", mask), b"\x82\x7f" + b"\xff" * 8, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(0x82, bytes(range(256)) * 256, mask), os.urandom(300_000)]
    with Daemon(Upstream(serve)) as daemon:
        wire = way(daemon.address)
        wire.inside.settimeout(PATIENCE)
        wire.inside.sendall(
            b"GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        whole = b"".join(pieces)

        def send():
            for piece in pieces:
                wire.inside.sendall(piece)
            wire.inside.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = b""
        while piece := wire.inside.recv(65_536):
            got += piece
        sender.join()
        head, _, rest = got.partition(b"\r\n\r\n")
        expect(head.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head)
        expect(b"".join(received) == whole, f"{sum(map(len, received))} of {len(whole)} bytes have arrived as they were")
        expect(rest == b"\x81\x05first" + whole + b"end", f"{len(rest)} bytes have come back")
        wire.close()


@case("websocket over HTTP/2: 50 conversations share a connection, and one that does not read stops no other")
def _():
    def serve(connection):
        for message in connection:
            for _ in range(20 if message == b"much" else 1):
                connection.send(message if message != b"much" else bytes(60_000))

    def frame(payload):
        return bytes([0x82, 0x80 | len(payload)]) + bytes(4) + payload

    with Daemon(Server(serve)) as daemon:
        client = daemon.client(credits=False)
        fields = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "web"),
            (":path", "/chat"), ("sec-websocket-version", "13")]
        numbers = [client.start(end=False, fields=fields) for _ in range(50)]
        for number in numbers:
            client.read_until(lambda: client.stream(number).status == 200, "the switch")
        stalled, *others = numbers
        client.send(client.data(stalled, frame(b"much")))
        client.read_until(lambda: len(client.stream(stalled).data) == 65_535, "the stalled one's window")
        client.send(b"\0\0\4\x08\0\0\0\0\0" + struct.pack(">I", MIB))
        for place, number in enumerate(others * 5):
            message = b"message %d" % place
            before = len(client.stream(number).data)
            client.send(client.data(number, frame(message)))
            client.read_until(lambda: len(client.stream(number).data) >= before + 2 + len(message), "the echo")
            expect(client.stream(number).data.endswith(message), client.stream(number))
        expect(len(client.stream(stalled).data) == 65_535, "the stalled one got more than its window")
        daemon.expect_memory_growth_below(8 * MIB)
        for number in others:
            client.send(client.data(number, b"\x88\x82\0\0\0\0\x03\xe8", end=True))
        for number in others:
            client.wait(number)
