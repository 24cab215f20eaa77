"""What the cases stand on: the daemon as a child process, peers that speak raw HTTP/2 frames on either side of it, and
upstreams that write down every byte they are sent.

Nothing here knows what HTTP/2 allows: frames are made with hyperframe and hpack, or byte by byte, and a case says what it
expects in return. Every wait has an end, and no case sleeps.
"""

import collections
import contextlib
import ctypes
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import traceback

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame,
    SettingsFrame, WindowUpdateFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11
PATIENCE = float(os.environ.get("CONFORMANCE_PATIENCE", 10))  # seconds
MANUAL_PAGE = pathlib.Path(__file__).parents[2] / "systemd/man/fairleadd.8"
# All of them: a unit test holds the page against the registry.
DOCUMENTED_METRICS = set(re.findall(r"^\.B (fairlead_\w+)", MANUAL_PAGE.read_text(), re.MULTILINE))

CASES = {}


class Failure(Exception):
    """A case's expectation that was not met."""


class Skipped(Exception):
    """A case that cannot run here, and why."""


def case(sentence):
    """Makes a function a case, under the sentence that says what it shows."""

    def register(function):
        if sentence in CASES:
            raise ValueError(f"two cases are called {sentence!r}")
        CASES[sentence] = function
        return function

    return register


def expect(condition, message):
    if not condition:
        raise Failure(message() if callable(message) else message)


def eventually(condition, message, seconds=PATIENCE):
    """Waits until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failure(message() if callable(message) else message)
        select.select([], [], [], 0.005)


# The daemon


class Daemon:
    """A running fairleadd. Leaving the `with` block checks what every case takes for granted: it is still alive, gives back
    every descriptor once its peers are gone, and ends with 0."""

    def __init__(self, upstream=None, protocol="http1", endpoints=None, policy="", extra="", listener="", limits="",
                 more=None):
        self.directory = tempfile.mkdtemp(prefix="fairlead-conformance-")
        self.peers = []
        self.upstreams = ([upstream] if upstream else []) + list((more or {}).values())
        if endpoints is None:
            endpoints = [upstream.address] if upstream else ["127.0.0.1:1"]
        listed = ", ".join(f'"{host}"' for host in endpoints)
        lines = [
            "node: { name: conformance, shards: 1 }",
            f"admin: {{ socket: {self.directory}/admin.sock }}",
            "listeners:",
            f'  - {{ name: outbound, address: "127.0.0.1:0", direction: outbound{listener} }}',
            "discovery:", "  - kind: static", "    prefix: static", "    services:", f"      web: [{listed}]",
            *(f'      {name}: ["{one.address}"]' for name, one in (more or {}).items()),
            "delegations: |", "  /svc => /#/static ;",
            "services:", "  - name: /svc", f"    protocol: {protocol}",
        ]
        lines += [f"    {line}" for line in policy.splitlines()]
        # A machine with more to do than it can makes the daemon shed: that is other tests' affair, so its lag is not judged here.
        if "overload" not in limits:
            limits = ", ".join(filter(None, [limits, "overload: { loopLag: none }"]))
        lines.insert(0, f"limits: {{ {limits} }}")
        lines += extra.splitlines()
        self.configuration = pathlib.Path(self.directory, "fairlead.yaml")
        self.configuration.write_text("\n".join(lines) + "\n")
        self.error = open(f"{self.directory}/stderr", "wb")
        self.process = subprocess.Popen(
            [binary("fairleadd"), "--config", str(self.configuration)], stdin=subprocess.DEVNULL, stdout=self.error,
            stderr=self.error, preexec_fn=die_with_parent)
        self.address = None
        self.has_ended = False
        eventually(self._is_ready, lambda: f"fairleadd is not ready: {self.log()}", 20)
        self.descriptors = self.open_descriptors()
        self.memory_at_start = self.memory()

    def _is_ready(self):
        expect(self.process.poll() is None, lambda: f"fairleadd ended: {self.log()}")
        try:
            if self.admin("/ready")[0] != 200:
                return False
            address = json.loads(self.admin("/status")[1])["listeners"][0]["address"]
        except OSError:
            return False
        host, port = address.rsplit(":", 1)
        self.address = (host, int(port))
        return True

    def admin(self, path):
        """One request to the admin socket: status and body."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(f"{self.directory}/admin.sock")
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while piece := connection.recv(65536):
                received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            body = unchunked(body)
        return int(head.split()[1]), body.decode()

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        text = self.admin("/metrics")[1]
        # A family without a sample is not exposed, and counts as zero; a name that no family has proves nothing.
        expect(name in DOCUMENTED_METRICS, f"there is no metric {name}")
        for line in text.splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if not match or match[1] != name:
                continue
            have = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if all(have.get(key) == value for key, value in labels.items()):
                total += float(match[3])
        return total

    def errors(self, code):
        return self.metric("fairlead_errors_total", code=code)

    def expect_error(self, code, count=1):
        eventually(lambda: self.errors(code) >= count, lambda: f"{code} counted {self.errors(code)}, not {count}")

    def memory(self):
        """Resident bytes, without what is shared with its file."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", text)[1]) * 1024

    def processor_seconds(self):
        # The clock of another process (clock_getcpuclockid(3)): exact, where /proc counts ticks.
        return time.clock_gettime(~self.process.pid << 3 | 2)

    @contextlib.contextmanager
    def expect_cost_below_ten_polite(self):
        """What happens inside costs the daemon less processor time than ten connections with 500 requests each."""
        before = self.processor_seconds()
        yield
        cost = self.processor_seconds() - before
        client = self.client()
        client.get("/polite")
        before = self.processor_seconds()
        for _ in range(10):
            for number in [client.start("/polite") for _ in range(50)]:
                client.wait(number)
        polite = self.processor_seconds() - before
        client.close()
        expect(cost < 10 * polite, f"{cost * 1000:.1f} ms of processor time, a polite connection takes {polite * 1000:.1f}")

    def open_descriptors(self):
        """What they lead to, and how often. A socket has its own number, so one that closes does not make up for one that
        stays."""
        found = collections.Counter()
        for name in os.listdir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found[os.readlink(f"/proc/{self.process.pid}/fd/{name}")] += 1
        return found

    def left_descriptors(self):
        return self.open_descriptors() - self.descriptors

    def expect_memory_growth_below(self, bytes_):
        grown = self.memory() - self.memory_at_start
        expect(grown < bytes_, f"{grown >> 10} KiB more resident than at the start, {bytes_ >> 10} allowed")

    def log(self):
        self.error.flush()
        return pathlib.Path(self.error.name).read_text(errors="replace")[-3000:]

    def client(self, **options):
        client = Client(self.address, **options)
        self.peers.append(client)
        return client

    def socket(self):
        """A plain connection."""
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        self.peers.append(connection)
        return connection

    def reload(self, old, new):
        self.configuration.write_text(self.configuration.read_text().replace(old, new))
        before = self.metric("fairlead_config_reloads_total")
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.metric("fairlead_config_reloads_total") > before, "the reload was not counted")

    def expect_polite_client_is_served(self):
        """Another client's request goes through as if nothing had happened."""
        client = self.client()

        def is_answered():
            # Where all have more to do than this machine can, it may be asked to come again.
            response = client.get("/polite")
            expect(response.status == 200 or response["fairlead-code"] == "FL2209", f"another client was answered {response}")
            return response.status == 200

        eventually(is_answered, "another client is refused all the time")
        client.close()

    def expect_end(self):
        """It was told to drain, and ends by itself."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"fairleadd does not end: {self.log()}") from None
        expect(self.process.returncode == 0, lambda: f"fairleadd ended with {self.process.returncode}: {self.log()}")
        self.has_ended = True

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            for peer in self.peers + self.upstreams:
                peer.close()
            if kind is None:
                self._check_end()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if kind is not None:
                print(f"fairleadd: {self.process.returncode}\n{self.log()}", flush=True)
            self.error.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _check_end(self):
        problems = [problem for upstream in self.upstreams for problem in upstream.problems]
        expect(not problems, lambda: "\n".join(problems))
        if self.has_ended:
            return
        expect(self.process.poll() is None, lambda: f"fairleadd ended with {self.process.returncode}: {self.log()}")
        eventually(
            lambda: not self.left_descriptors(),
            lambda: f"descriptors are left: {dict(self.left_descriptors())}")
        for direction in ("downstream", "upstream"):
            eventually(
                lambda: self.metric("fairlead_http2_streams", direction=direction) == 0,
                lambda: f"{self.metric('fairlead_http2_streams', direction=direction)} {direction} streams are left")
        for name in ("fairlead_endpoint_in_flight_requests", "fairlead_pending_requests"):
            eventually(lambda: self.metric(name) == 0, lambda: f"{name} is {self.metric(name)}")
        self.process.send_signal(signal.SIGTERM)
        self.expect_end()


def binary(name):
    directory = os.environ.get("FAIRLEAD_BIN_DIR")
    if not directory:
        directory = pathlib.Path(__file__).resolve().parents[2] / ".build" / "release"
    return str(pathlib.Path(directory, name))


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def unchunked(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        whole, body = whole + body[:count], body[count + 2:]
        if count == 0:
            break
    return whole


# Frames


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """A frame byte by byte, right or wrong."""
    length = len(payload) if length is None else length
    return struct.pack(">IBBI", length, kind, flags, stream)[1:] + payload


def settings(**values):
    """A SETTINGS frame: HEADER_TABLE_SIZE=…, INITIAL_WINDOW_SIZE=… and so on."""
    return SettingsFrame(0, {getattr(SettingsFrame, name): value for name, value in values.items()})


def reset(stream, code=CANCEL):
    return RstStreamFrame(stream, error_code=code)


def window(stream, increment):
    return WindowUpdateFrame(stream, window_increment=increment)


def ping(payload=b"12345678"):
    return PingFrame(0, opaque_data=payload)


class Response:
    """What has come on one stream so far."""

    def __init__(self):
        self.interim, self.fields, self.trailers = [], None, None
        self.data, self.is_whole, self.reset = b"", False, None

    def __getitem__(self, name):
        return dict(self.fields or []).get(name)

    @property
    def status(self):
        return int(self[":status"]) if self.fields else None

    @property
    def is_over(self):
        return self.is_whole or self.reset is not None

    def __repr__(self):
        return f"<{self.fields} {len(self.data)} bytes {self.data[:80]!r} trailers {self.trailers} reset {self.reset}>"


class Peer:
    """One end of a connection that speaks frames. It reads only when asked to; reading answers SETTINGS and gives credit
    unless `credits` is off."""

    def __init__(self, connection, credits=True):
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.decoder.max_allowed_table_size = 4096
        self.decoder.max_header_list_size = 1 << 24
        self.credits = credits
        self.received = b""
        self.frames = []
        self.streams = {}
        self.peer_settings = None
        self.goaway = None
        self.ended = None
        self.acknowledged = 0
        self.pings = []
        self.block = None

    def send(self, *frames):
        self.socket.sendall(b"".join(one.serialize() if isinstance(one, Frame) else one for one in frames))

    def try_send(self, *frames):
        """The same, towards a peer that may be gone. False when it is."""
        try:
            self.send(*frames)
            return True
        except OSError:
            return False

    def headers(self, stream, fields, end=True, flags=(), split=None):
        """A header block in a HEADERS frame, and CONTINUATION frames of `split` bytes."""
        block = fields if isinstance(fields, bytes) else self.encoder.encode(fields, huffman=False)
        pieces = [block] if not split else [block[at:at + split] for at in range(0, len(block), split)] or [b""]
        frames = []
        for place, piece in enumerate(pieces):
            one = HeadersFrame(stream, piece) if place == 0 else ContinuationFrame(stream, piece)
            if place == 0:
                for flag in flags:
                    one.flags.add(flag)
                if end:
                    one.flags.add("END_STREAM")
            if place == len(pieces) - 1:
                one.flags.add("END_HEADERS")
            frames.append(one.serialize())
        return b"".join(frames)

    def data(self, stream, payload=b"", end=False, pad=None):
        one = DataFrame(stream, payload)
        if end:
            one.flags.add("END_STREAM")
        if pad is not None:
            one.flags.add("PADDED")
            one.pad_length = pad
        return one.serialize()

    def stream(self, number):
        return self.streams.setdefault(number, Response())

    def read(self, seconds=PATIENCE):
        """Takes what has come, waiting for it (0: not at all). False when nothing came, or the connection has ended."""
        if self.ended is not None:
            return False
        try:
            self.socket.settimeout(max(seconds, 0))
            piece = self.socket.recv(1 << 18)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError as error:
            self.ended = error
            return False
        finally:
            if self.socket.fileno() >= 0:
                self.socket.settimeout(PATIENCE)
        if not piece:
            self.ended = "end"
            return False
        self.received += piece
        credit = {}
        while len(self.received) >= 9:
            one, length = Frame.parse_frame_header(memoryview(self.received)[:9])
            if len(self.received) < 9 + length:
                break
            one.parse_body(memoryview(self.received)[9:9 + length])
            self.received = self.received[9 + length:]
            self._took(one, length, credit)
        updates = [window(stream, count) for stream, count in credit.items() if count]
        if updates:
            self.try_send(*updates)
        return True

    def _took(self, one, length, credit):
        self.frames.append(one)
        if isinstance(one, SettingsFrame):
            if "ACK" in one.flags:
                self.acknowledged += 1
            else:
                self.peer_settings = {**(self.peer_settings or {}), **one.settings}
                self.encoder.header_table_size = min(4096, one.settings.get(SettingsFrame.HEADER_TABLE_SIZE, 4096))
                self.try_send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(one, PingFrame):
            self.pings.append((bytes(one.opaque_data), "ACK" in one.flags))
            if "ACK" not in one.flags:
                self.try_send(PingFrame(0, opaque_data=one.opaque_data, flags=["ACK"]))
        elif isinstance(one, GoAwayFrame):
            self.goaway = one
        elif isinstance(one, RstStreamFrame):
            self.stream(one.stream_id).reset = one.error_code
        elif isinstance(one, (HeadersFrame, ContinuationFrame)):
            if isinstance(one, HeadersFrame):
                self.block = [b"", "END_STREAM" in one.flags]
            self.block[0] += one.data
            if "END_HEADERS" in one.flags:
                self._took_head(one.stream_id, self.decoder.decode(self.block[0]), self.block[1])
        elif isinstance(one, DataFrame):
            response = self.stream(one.stream_id)
            response.data += one.data
            response.is_whole = response.is_whole or "END_STREAM" in one.flags
            if self.credits:
                credit[0] = credit.get(0, 0) + length
                if not response.is_whole:
                    credit[one.stream_id] = credit.get(one.stream_id, 0) + length

    def _took_head(self, number, fields, ends):
        response = self.stream(number)
        status = dict(fields).get(":status", "")
        if response.fields is not None:
            response.trailers = fields
        elif status.startswith("1"):
            response.interim.append(fields)
        else:
            response.fields = fields
        response.is_whole = response.is_whole or ends

    def read_until(self, condition, what, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0 or not self.read(left):
                if condition():
                    return
                raise Failure(
                    f"{what}: did not come; ended {self.ended}, GOAWAY {self.goaway}, streams {self.streams}")

    def wait(self, number):
        """The stream's response, whole or reset."""
        self.read_until(lambda: self.stream(number).is_over, f"the end of stream {number}")
        return self.stream(number)

    def read_to_end(self):
        self.read_until(lambda: self.ended is not None, "the end of the connection")

    def expect_reset(self, number, *codes):
        """The stream, and only the stream, is refused."""
        response = self.wait(number)
        expect(response.reset in codes and response.fields is None, f"stream {number}: {response}")
        expect(self.goaway is None, f"GOAWAY {self.goaway}")

    def expect_goaway(self, *codes):
        """The connection is ended, and the reason given."""
        self.read_until(lambda: self.goaway is not None, "a GOAWAY")
        expect(self.goaway.error_code in codes, f"GOAWAY with {self.goaway.error_code}, not {codes}")
        self.read_to_end()

    def expect_alive(self):
        """It answers a PING."""
        token = os.urandom(8)
        self.send(ping(token))
        self.read_until(lambda: (token, True) in self.pings, "the answer to a PING")

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Client(Peer):
    """A client that knows the server speaks HTTP/2."""

    def __init__(self, address, preface=PREFACE, first=None, credits=True, receive_buffer=None):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(connection, credits)
        self.next = 1
        if preface is not None:
            self.send(preface, first if first is not None else settings(ENABLE_PUSH=0))

    def fields(self, path="/", method="GET", authority="web", scheme="http", more=()):
        return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *more]

    def take_number(self):
        number, self.next = self.next, self.next + 2
        return number

    def start(self, path="/", end=True, fields=None, **options):
        """Sends a request's head on a new stream."""
        number = self.take_number()
        self.send(self.headers(number, fields if fields is not None else self.fields(path, **options), end))
        return number

    def get(self, path="/", **options):
        return self.wait(self.start(path, **options))

    def post(self, path, body, **options):
        number = self.start(path, end=False, method="POST", **options)
        self.send(self.data(number, body, end=True))
        return self.wait(number)


# Upstreams


class Upstream:
    """A server of our own. `serve(connection)` is run in a thread for each connection; what it raises fails the case unless the
    connection is gone."""

    def __init__(self, serve=None):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.serve = serve or self.serve_one
        self.connections = []
        self.problems = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.serve(connection)
        except (OSError, EOFError, Failure):
            pass
        except Exception:
            self.problems.append(traceback.format_exc())
        finally:
            try:
                connection.close()
            except OSError:
                pass

    def close(self):
        for one in [self.listener, *self.connections]:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()


class Request:
    def __init__(self, head, body, trailers=b""):
        self.head, self.body, self.trailers = head, body, trailers
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.method, self.target = self.line.split(" ")[:2]
        self.fields = [tuple(line.split(": ", 1)) for line in lines[1:] if line]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name]


class HTTP1Upstream(Upstream):
    """Answers every HTTP/1 request 200 with its first line; keeps the requests it understood, and every byte it was sent."""

    def __init__(self, answer=None):
        self.requests, self.bytes, self.answer = [], [], answer
        super().__init__()

    def serve_one(self, connection):
        place = len(self.bytes)
        self.bytes.append(b"")
        held = b""

        def more():
            nonlocal held
            piece = connection.recv(65536)
            if not piece:
                raise EOFError
            self.bytes[place] += piece
            held += piece

        def take(separator):
            nonlocal held
            while separator not in held:
                more()
            part, _, held = held.partition(separator)
            return part

        while True:
            head = take(b"\r\n\r\n")
            lower = head.lower()
            body, trailers = b"", b""
            if b"transfer-encoding: chunked" in lower:
                while count := int(take(b"\r\n").split(b";")[0], 16):
                    while len(held) < count + 2:
                        more()
                    body, held = body + held[:count], held[count + 2:]
                while line := take(b"\r\n"):
                    trailers += line + b"\r\n"
            elif match := re.search(rb"content-length: (\d+)", lower):
                while len(held) < int(match[1]):
                    more()
                body, held = held[:int(match[1])], held[int(match[1]):]
            request = Request(head, body, trailers)
            self.requests.append(request)
            if self.answer:
                self.answer(connection, request)
            else:
                text = request.line.encode()
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(text), b"" if request.method == "HEAD" else text))


class HTTP2Upstream(Upstream):
    """Speaks HTTP/2 frames. `script(peer)` is run for each connection after both prefaces; without one every request is answered
    200 with its path."""

    def __init__(self, script=None, first=None):
        self.script, self.first = script, first
        self.heads = []
        self.peers = []
        super().__init__()

    def serve_one(self, connection):
        preface = b""
        while len(preface) < len(PREFACE):
            piece = connection.recv(len(PREFACE) - len(preface))
            if not piece:
                raise EOFError
            preface += piece
        expect(preface == PREFACE, f"the preface is {preface!r}")
        peer = ServerPeer(connection, self)
        peer.number = len(self.peers)
        self.peers.append(peer)
        peer.send(self.first if self.first is not None else SettingsFrame(0))
        (self.script or polite)(peer)


class ServerPeer(Peer):
    """An upstream's end of a connection: requests are what `streams` holds."""

    def __init__(self, connection, upstream):
        super().__init__(connection)
        self.upstream = upstream
        self.answered = set()

    def _took_head(self, number, fields, ends):
        request = self.stream(number)
        if request.fields is None:
            request.fields = fields
            self.upstream.heads.append(fields)
        else:
            request.trailers = fields
        request.is_whole = request.is_whole or ends

    def ready(self, whole=True):
        """The number of a request that has come, and not been given out yet; None where there is none."""
        for number, request in sorted(self.streams.items()):
            if number not in self.answered and request.fields and (request.is_whole or not whole):
                self.answered.add(number)
                return number
        return None

    def next_request(self, whole=True):
        """The same, waiting for one."""
        while (number := self.ready(whole)) is None:
            if not self.read(60):
                raise EOFError
        return number

    def respond(self, number, status="200", body=None, more=(), trailers=None):
        if body is None:
            body = self.stream(number)[":path"].encode()
        out = self.headers(number, [(":status", status), *more], end=not body and trailers is None)
        if body:
            out += self.data(number, body, end=trailers is None)
        if trailers is not None:
            out += self.headers(number, trailers)
        self.send(out)


def polite(peer):
    """Answers everything."""
    while True:
        peer.respond(peer.next_request())
