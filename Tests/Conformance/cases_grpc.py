"""gRPC with its own client and server (grpcio) at the two ends: the cases of gRPC's interoperability tests, what the proxy answers
by itself, and what happens when one end goes. Messages are plain bytes, so nothing here needs a compiler."""

import collections
import concurrent.futures
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading

# The daemon is started by fork and exec, while grpcio's threads are there; they are of no use to it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc  # noqa: E402

from harness import (  # noqa: E402
    CANCEL, INTERNAL_ERROR, NO_ERROR, PATIENCE, REFUSED_STREAM, Daemon, HTTP2Upstream, case, die_with_parent, eventually, expect,
    reset)

MIB = 1 << 20
UNARY, STREAM_OUT, STREAM_IN, STREAMS = (
    grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler, grpc.stream_unary_rpc_method_handler,
    grpc.stream_stream_rpc_method_handler)


class Server:
    """grpcio's server. `methods` are its handlers by path; what is in none is UNIMPLEMENTED."""

    problems = ()

    def __init__(self, methods, threads=8):
        self.methods, self.metadata, self.gone = methods, [], threading.Event()
        self.ended = threading.Event()  # For handlers that wait.
        self.server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(threads), handlers=[self],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 8 * MIB)])
        self.address = "127.0.0.1:%d" % self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, details):
        self.metadata.append(list(details.invocation_metadata))
        return self.methods.get(details.method)

    def wait_for_client(self, context, started=None):
        """A handler's way to wait until its client has gone."""
        if not context.add_callback(self.gone.set):
            self.gone.set()
        if started:
            started.set()
        while not self.gone.wait(0.05) and not self.ended.is_set():
            pass

    def close(self):
        self.ended.set()
        self.server.stop(0).wait(PATIENCE)


grpc.GenericRpcHandler.register(Server)


class Channel:
    """grpcio's client, which calls the service by its name and repeats nothing of its own accord."""

    def __init__(self, daemon, authority="web"):
        self.channel = grpc.insecure_channel("ipv4:%s:%d" % daemon.address, options=[
            ("grpc.default_authority", authority), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 8 * MIB)])

    def __getattr__(self, name):
        return getattr(self.channel, name)

    def __enter__(self):
        return self.channel

    def __exit__(self, *_):
        self.channel.close()


@contextlib.contextmanager
def served(methods, threads=8, **options):
    """A daemon in front of a server with these methods, and a channel to it."""
    server = Server(methods, threads)
    with Daemon(server, protocol="http2", **options) as daemon, Channel(daemon) as channel:
        yield daemon, server, channel


def failure(call):
    """How a call fails: its code, and what it says."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "OK", repr(answer)


def echo(request, context):
    return request


def count(daemon, status):
    return daemon.metric("fairlead_grpc_responses_total", grpc_status=str(status))


def expect_count(daemon, status, number):
    eventually(lambda: count(daemon, status) == number, lambda: f"status {status}: {count(daemon, status)} calls")


# The four kinds of calls


@case("grpc: unary calls, from empty to 4 MiB")
def _():
    with served({"/t.T/Unary": UNARY(echo), "/t.T/Half": UNARY(lambda r, c: bytes(314_159))}) as (daemon, _, channel):
        unary = channel.unary_unary("/t.T/Unary")
        for size in (0, 1, 16_384, 65_531, 271_828, 4 * MIB):
            message = os.urandom(size)
            expect(unary(message, timeout=PATIENCE) == message, f"{size} bytes")
        expect(len(channel.unary_unary("/t.T/Half")(bytes(271_828), timeout=PATIENCE)) == 314_159, "314159 bytes")
        expect_count(daemon, 0, 7)
        # Some 5 MiB each way; the windows bound what is held of them.
        daemon.expect_memory_growth_below(8 * MIB)


@case("grpc: client streaming")
def _():
    sizes = [27_182, 8, 1_828, 45_904]
    with served({"/t.T/Sum": STREAM_IN(lambda messages, c: b"%d" % sum(map(len, messages)))}) as (daemon, _, channel):
        call = channel.stream_unary("/t.T/Sum")
        expect(call((bytes(size) for size in sizes), timeout=PATIENCE) == b"74922", "the sum")
        expect(call(iter(()), timeout=PATIENCE) == b"0", "the sum of nothing")
        expect_count(daemon, 0, 2)


@case("grpc: server streaming")
def _():
    sizes = [31_415, 9, 2_653, 58_979]

    def serve(request, context):
        for size in sizes[:int(request)]:
            yield bytes(size)

    with served({"/t.T/List": STREAM_OUT(serve)}) as (daemon, _, channel):
        call = channel.unary_stream("/t.T/List")
        expect([len(one) for one in call(b"4", timeout=PATIENCE)] == sizes, "the messages")
        expect(list(call(b"0", timeout=PATIENCE)) == [], "no message")
        expect_count(daemon, 0, 2)


@case("grpc: ping-pong, where each message is answered before the next is sent")
def _():
    def serve(messages, context):
        yield from messages

    with served({"/t.T/Chat": STREAMS(serve)}) as (daemon, _, channel):
        out = queue.SimpleQueue()
        call = channel.stream_stream("/t.T/Chat")(iter(out.get, None), timeout=PATIENCE)
        for size in (27_182, 8, 1_828, 45_904, 0):
            message = os.urandom(size)
            out.put(message)
            expect(next(call) == message, f"{size} bytes")
        eventually(lambda: daemon.metric("fairlead_endpoint_in_flight_requests") == 1, "the call is not under way")
        out.put(None)
        expect(list(call) == [] and call.code() == grpc.StatusCode.OK, f"{call.code()}")
        # A stream without a message, either way.
        empty = channel.stream_stream("/t.T/Chat")(iter(()), timeout=PATIENCE)
        expect(list(empty) == [] and empty.code() == grpc.StatusCode.OK, f"{empty.code()}")
        expect_count(daemon, 0, 2)


# What is cancelled, or takes too long


@case("grpc: cancelled after its beginning")
def _():
    started = threading.Event()
    server = None

    def serve(messages, context):
        server.wait_for_client(context, started)
        return b""

    with served({"/t.T/Sum": STREAM_IN(serve)}) as (daemon, server, channel):
        call = channel.stream_unary("/t.T/Sum").future(iter(queue.SimpleQueue().get, None), timeout=PATIENCE)
        expect(started.wait(PATIENCE), "it has not begun")
        call.cancel()
        expect(call.code() == grpc.StatusCode.CANCELLED, call.code())
        expect(server.gone.wait(PATIENCE), "the server was not told")
        expect_count(daemon, 1, 1)


@case("grpc: cancelled after the first response")
def _():
    server = None

    def serve(messages, context):
        # Not behind the message: what is cancelled by then is not taken up again.
        context.add_callback(server.gone.set)
        yield next(messages)
        server.wait_for_client(context)

    with served({"/t.T/Chat": STREAMS(serve)}) as (daemon, server, channel):
        out = queue.SimpleQueue()
        call = channel.stream_stream("/t.T/Chat")(iter(out.get, None), timeout=PATIENCE)
        out.put(b"one")
        expect(next(call) == b"one", "no answer")
        call.cancel()
        expect(failure(lambda: next(call))[0] == "CANCELLED", call.code())
        expect(server.gone.wait(PATIENCE), "the server was not told")
        out.put(None)
        expect_count(daemon, 1, 1)


@case("grpc: a caller's deadline ends the call at both ends")
def _():
    server = None

    def serve(request, context):
        server.wait_for_client(context)
        return b""

    with served({"/t.T/Slow": UNARY(serve)}) as (daemon, server, channel):
        code, _ = failure(lambda: channel.unary_unary("/t.T/Slow")(b"", timeout=0.3))
        expect(code == "DEADLINE_EXCEEDED", code)
        expect(server.gone.wait(PATIENCE), "the server was not told")
        # Either the client's reset came first, or the proxy's own timer.
        eventually(lambda: count(daemon, 1) + count(daemon, 4) == 1, "the call is not counted")


@case("grpc: the service's own timeout is DEADLINE_EXCEEDED, too")
def _():
    server = None

    def serve(request, context):
        server.wait_for_client(context)
        return b""

    with served({"/t.T/Slow": UNARY(serve)}, policy="timeouts: { request: 300ms }") as (daemon, server, channel):
        code, details = failure(lambda: channel.unary_unary("/t.T/Slow")(b"", timeout=PATIENCE))
        expect(code == "DEADLINE_EXCEEDED" and "FL2106" in details, (code, details))
        expect(server.gone.wait(PATIENCE), "the server was not told")
        expect_count(daemon, 4, 1)


@case("grpc: the server is told the caller's deadline, and none where there is none")
def _():
    left = []

    def serve(request, context):
        left.append(context.time_remaining())
        return b""

    with served({"/t.T/Unary": UNARY(serve)}) as (daemon, server, channel):
        unary = channel.unary_unary("/t.T/Unary")
        for timeout in (2, 50, None):
            unary(b"", timeout=timeout)
        expect(0 < left[0] <= 2 and 2 < left[1] < 60 and left[2] > 86_400, left)


@case("grpc: an attempt that follows another is told what is left of the caller's deadline")
def _():
    told = []

    def serve(peer):
        while True:
            number = peer.next_request()
            told.append(peer.stream(number)["grpc-timeout"])
            if len(told) == 1:
                peer.send(reset(number, REFUSED_STREAM))
            else:
                peer.send(peer.headers(number, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]))

    with Daemon(HTTP2Upstream(serve), protocol="http2") as daemon:
        client = daemon.client()
        response = client.post("/t.T/A", b"", more=[("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S")])
        expect(response.status == 200 and response["grpc-status"] == "0", response)
        first, second = (int(one.removesuffix("u")) for one in told)
        expect(4_000_000 < second < first <= 5_000_000, told)


# Metadata and statuses


@case("grpc: metadata both ways, binary as well")
def _():
    binary, second = bytes(range(256)), b"\xab\xab\xab"

    def serve(request, context):
        have = collections.defaultdict(list)
        for key, value in context.invocation_metadata():
            have[key].append(value)
        context.send_initial_metadata((("x-initial", have["x-text"][0]), ("x-initial-bin", have["x-value-bin"][0])))
        context.set_trailing_metadata(
            (("x-trailing-bin", have["x-value-bin"][1]), ("x-trailing", "a"), ("x-trailing", "b")))
        return b",".join(have["x-several"][0:2] if isinstance(have["x-several"][0], bytes) else
                         [one.encode() for one in have["x-several"]])

    with served({"/t.T/Unary": UNARY(serve)}) as (daemon, _, channel):
        answer, call = channel.unary_unary("/t.T/Unary").with_call(b"", timeout=PATIENCE, metadata=(
            ("x-text", "some, text; with=marks"), ("x-value-bin", binary), ("x-value-bin", second),
            ("x-several", "one"), ("x-several", "two")))
        expect(answer == b"one,two", answer)
        initial, trailing = list(call.initial_metadata()), list(call.trailing_metadata())
        expect(("x-initial", "some, text; with=marks") in initial and ("x-initial-bin", binary) in initial, initial)
        expect(("x-trailing-bin", second) in trailing, trailing)
        expect([value for key, value in trailing if key == "x-trailing"] == ["a", "b"], trailing)


@case("grpc: every status and its message arrive, in any script")
def _():
    text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈 100%\t\n"
    codes = {code.value[0]: code for code in grpc.StatusCode}

    def serve(request, context):
        context.abort(codes[int(request)], text)

    def late(request, context):
        yield b"one"
        context.abort(codes[int(request)], text)

    with served({"/t.T/Fail": UNARY(serve), "/t.T/Late": STREAM_OUT(late)}) as (daemon, _, channel):
        for number in range(1, 17):
            got = failure(lambda: channel.unary_unary("/t.T/Fail")(b"%d" % number, timeout=PATIENCE))
            expect(got == (codes[number].name, text), got)
            call = channel.unary_stream("/t.T/Late")(b"%d" % number, timeout=PATIENCE)
            expect(next(call) == b"one", "the message in front of it")
            got = failure(lambda: next(call))
            expect(got == (codes[number].name, text), got)
            expect_count(daemon, number, 2)


@case("grpc: unimplemented methods and services are what the server says")
def _():
    with served({"/t.T/Unary": UNARY(echo)}) as (daemon, _, channel):
        for path in ("/t.T/Nothing", "/t.Nobody/Unary"):
            expect(failure(lambda: channel.unary_unary(path)(b"", timeout=PATIENCE))[0] == "UNIMPLEMENTED", path)
        expect_count(daemon, 12, 2)
        expect(channel.unary_unary("/t.T/Unary")(b"x", timeout=PATIENCE) == b"x", "the next")


# What the proxy answers by itself


@case("grpc: what the proxy answers is a status with its code, in a head alone")
def _():
    extra = "\n".join([
        "routes:",
        "  - { name: aborted, match: { path: { exact: /t.T/Aborted } }, to: /svc/web, fault: { abort: { percent: 100, status: 403 } } }",
        "  - { name: limited, match: { path: { exact: /t.T/Limited } }, to: /svc/web, rateLimit: { requests: 1, per: 1h, burst: 1 } }",
    ])
    with served({"/t.T/Limited": UNARY(echo), "/t.T/Aborted": UNARY(echo)}, extra=extra) as (daemon, server, channel):
        def outcome(path, channel=channel):
            return failure(lambda: channel.unary_unary(path)(b"", timeout=PATIENCE))

        expect(outcome("/t.T/Limited")[0] == "OK", "within its rate")
        for path, status, code in (
                ("/t.T/Limited", "RESOURCE_EXHAUSTED", "FL2207"), ("/t.T/Aborted", "PERMISSION_DENIED", "FL2401")):
            got, details = outcome(path)
            expect(got == status and code in details, (path, got, details))
            daemon.expect_error(code)
            call = channel.unary_unary(path).future(b"", timeout=PATIENCE)
            # Trailers-Only: the fields of the head are the trailers.
            expect(call.exception(PATIENCE) is not None, path)
            metadata = dict(call.trailing_metadata())
            expect(metadata.get("fairlead-code") == code, (path, metadata))
            # As over HTTP: when it may come again, where that is known.
            expect(("retry-after" in metadata) == (code == "FL2207"), (path, metadata))
            expect(int(metadata.get("retry-after", 3600)) > 3000, (path, metadata))
        with Channel(daemon, authority="nobody") as unknown:
            got, details = outcome("/t.T/Unary", unknown)
            expect(got == "UNIMPLEMENTED" and "FL2003" in details, (got, details))
        expect(len(server.metadata) == 1, f"{len(server.metadata)} calls have reached the server")


@case("grpc: a call that was answered before its end may end by itself; one that does not is reset in time, without an error")
def _():
    with Daemon(HTTP2Upstream(), protocol="http2") as daemon:
        client = daemon.client()
        fields = client.fields("/t.T/Unary", "POST", "nobody", more=[("content-type", "application/grpc"), ("te", "trailers")])
        polite, stubborn = client.start(end=False, fields=fields), client.start(end=False, fields=fields)
        for number in (polite, stubborn):
            client.read_until(lambda: client.stream(number).is_whole, "the answer")
            expect(client.stream(number)["grpc-status"] == "12" and client.stream(number).reset is None, client.stream(number))
        client.send(client.data(polite, b"\0\0\0\0\0", end=True))
        client.read_until(lambda: client.stream(stubborn).reset is not None, "the reset")
        expect((client.stream(stubborn).reset, client.stream(polite).reset) == (NO_ERROR, None), client.streams)
        expect(daemon.metric("fairlead_http2_streams", direction="downstream") == 0, "a stream is left")
        client.expect_alive()


@case("grpc: without an endpoint that answers it is UNAVAILABLE")
def _():
    with Daemon(protocol="http2", endpoints=["127.0.0.1:1"]) as daemon, Channel(daemon) as channel:
        code, details = failure(lambda: channel.unary_unary("/t.T/Unary")(b"", timeout=PATIENCE))
        expect(code == "UNAVAILABLE" and re.search("FL2[12]", details), (code, details))
        expect_count(daemon, 14, 1)


# Retries


def failing(codes):
    """A method whose calls end with these, one after the other, and then well; and how many calls have come."""
    calls = []

    def serve(request, context):
        calls.append(request)
        if len(calls) <= len(codes):
            context.abort(codes[len(calls) - 1], "not now")
        return request

    return serve, calls


@case("grpc: grpc-default sends again what was UNAVAILABLE, and nothing else")
def _():
    serve, calls = failing([grpc.StatusCode.UNAVAILABLE] * 2 + [grpc.StatusCode.INTERNAL])
    with served({"/t.T/Unary": UNARY(serve)}, policy="retries: { classifier: grpc-default }") as (daemon, _, channel):
        unary = channel.unary_unary("/t.T/Unary")
        expect(failure(lambda: unary(b"message", timeout=PATIENCE))[0] == "INTERNAL", "it was not sent on to the third")
        expect(calls == [b"message"] * 3, calls)
        expect(unary(b"x", timeout=PATIENCE) == b"x", "the next")
        expect(daemon.metric("fairlead_retries_total") == 2, daemon.metric("fairlead_retries_total"))
        expect_count(daemon, 13, 1)
        expect_count(daemon, 14, 0)


@case("grpc: grpc-always sends again what failed by the server's doing, not by the caller's")
def _():
    serve, calls = failing([grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INVALID_ARGUMENT])
    with served({"/t.T/Unary": UNARY(serve)}, policy="retries: { classifier: grpc-always }") as (daemon, _, channel):
        got = failure(lambda: channel.unary_unary("/t.T/Unary")(b"", timeout=PATIENCE))
        expect(got == ("INVALID_ARGUMENT", "not now") and len(calls) == 3, (got, calls))


@case("grpc: without a classifier nothing is sent again")
def _():
    serve, calls = failing([grpc.StatusCode.UNAVAILABLE])
    with served({"/t.T/Unary": UNARY(serve)}) as (daemon, _, channel):
        got = failure(lambda: channel.unary_unary("/t.T/Unary")(b"", timeout=PATIENCE))
        expect(got == ("UNAVAILABLE", "not now") and len(calls) == 1, (got, calls))


# Many streams, and servers that go


@case("grpc: 100 streams at once on one channel, each with its own messages")
def _():
    def serve(messages, context):
        yield from messages

    with served({"/t.T/Chat": STREAMS(serve)}, threads=100) as (daemon, _, channel):
        chats = [queue.SimpleQueue() for _ in range(100)]
        calls = [channel.stream_stream("/t.T/Chat")(iter(one.get, None), timeout=30) for one in chats]
        for round_ in range(3):
            for place, out in enumerate(chats):
                out.put(b"%d of %d" % (round_, place))
            for place, call in enumerate(calls):
                expect(next(call) == b"%d of %d" % (round_, place), f"{round_} of {place}")
            expect(daemon.metric("fairlead_http2_streams", direction="downstream") == 100, "not all are open")
        for out in chats:
            out.put(None)
        for call in calls:
            expect(list(call) == [] and call.code() == grpc.StatusCode.OK, call.code())
        expect_count(daemon, 0, 100)


@case("grpc: more calls than a connection has streams wait for their turn at the client")
def _():
    with served({"/t.T/Unary": UNARY(echo)}) as (daemon, _, channel):
        calls = [channel.unary_unary("/t.T/Unary").future(b"%d" % place, timeout=30) for place in range(500)]
        expect([call.result() for call in calls] == [b"%d" % place for place in range(500)], "the answers")
        expect_count(daemon, 0, 500)


class OtherProcess:
    """A server that can be killed: it counts without an end, one message for each it is asked for."""

    problems = ()

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self.address = self.process.stdout.readline().decode().strip()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@case("grpc: a server that is killed in the middle of a stream is UNAVAILABLE, and others carry on")
def _():
    first, second = OtherProcess(), OtherProcess()
    with Daemon(first, protocol="http2", endpoints=[first.address, second.address]) as daemon:
        daemon.upstreams.append(second)
        with Channel(daemon) as channel:
            chats = [queue.SimpleQueue() for _ in range(20)]
            calls = [channel.stream_stream("/t.T/Chat")(iter(one.get, None), timeout=30) for one in chats]
            where = collections.defaultdict(list)
            for out, call in zip(chats, calls):
                out.put(b"")
                where[next(call)].append((out, call))
            expect(len(where) == 2, f"all calls have gone to {list(where)}")
            first.process.send_signal(signal.SIGKILL)
            dead = where.pop(b"%d" % first.process.pid)
            for _, call in dead:
                code, details = failure(lambda: next(call))
                expect(code == "UNAVAILABLE", (code, details))
            for out, call in where.popitem()[1]:
                out.put(b"")
                expect(next(call) == b"%d" % second.process.pid, "the other server's stream")
                out.put(None)
                expect(list(call) == [] and call.code() == grpc.StatusCode.OK, call.code())
            # New calls find the server that is left.
            for _ in range(10):
                expect(list(channel.stream_stream("/t.T/Chat")(iter([b""]), timeout=PATIENCE)) ==
                       [b"%d" % second.process.pid], "a new call")
            for out, _ in dead:
                out.put(None)
            expect_count(daemon, 14, len(dead))


def breaking(reset_code):
    """A server that breaks its stream, or its connection, behind the first message."""

    def script(peer):
        number = peer.next_request(whole=False)
        peer.send(peer.headers(number, [(":status", "200"), ("content-type", "application/grpc")], end=False))
        peer.send(peer.data(number, b"\0\0\0\0\1x"))
        if reset_code is None:
            peer.close()
        else:
            peer.send(reset(number, reset_code))
            while peer.read(60):
                pass

    return script


@case("grpc: a response that breaks off is UNAVAILABLE, behind the messages that came; the client's connection stays")
def _():
    for code in (None, INTERNAL_ERROR, CANCEL):
        with Daemon(HTTP2Upstream(breaking(code)), protocol="http2") as daemon, Channel(daemon) as channel:
            call = channel.unary_stream("/t.T/List")(b"", timeout=PATIENCE)
            expect(next(call) == b"x", "the message in front of it")
            got, details = failure(lambda: next(call))
            expect(got == "UNAVAILABLE" and "FL2105" in details, (code, got, details))
            daemon.expect_error("FL2105")
            expect_count(daemon, 14, 1)
            expect(daemon.metric("fairlead_connections", direction="downstream") == 1, "the client's connection")


@case("grpc: a response that falls silent is UNAVAILABLE, and its server's stream is reset")
def _():
    ended = []

    def silent(peer):
        number = peer.next_request(whole=False)
        peer.send(peer.headers(number, [(":status", "200"), ("content-type", "application/grpc")], end=False))
        peer.send(peer.data(number, b"\0\0\0\0\1x"))
        peer.read_until(lambda: peer.stream(number).reset is not None, "the end of the stream")
        ended.append(peer.stream(number).reset)
        while peer.read(60):
            pass

    with Daemon(HTTP2Upstream(silent), protocol="http2", policy="timeouts: { idle: 300ms }") as daemon, Channel(daemon) as channel:
        call = channel.unary_stream("/t.T/List")(b"", timeout=PATIENCE)
        expect(next(call) == b"x", "the message in front of it")
        got, details = failure(lambda: next(call))
        expect(got == "UNAVAILABLE" and "FL2105" in details, (got, details))
        eventually(lambda: ended, "the server's stream stays open")
        expect(ended == [CANCEL], ended)
        expect_count(daemon, 14, 1)


@case("grpc: a server that has enough of a client's messages ends the call, and nothing of it is left")
def _():
    def serve(messages, context):
        yield next(messages)
        context.abort(grpc.StatusCode.OUT_OF_RANGE, "enough")

    with served({"/t.T/Chat": STREAMS(serve)}, threads=10) as (daemon, _, channel):
        chats = [queue.SimpleQueue() for _ in range(10)]
        calls = [channel.stream_stream("/t.T/Chat")(iter(one.get, None), timeout=PATIENCE) for one in chats]
        for out, call in zip(chats, calls):
            out.put(bytes(100_000))
            expect(len(next(call)) == 100_000 and failure(lambda: next(call)) == ("OUT_OF_RANGE", "enough"), call.code())
        for direction in ("downstream", "upstream"):
            eventually(lambda: daemon.metric("fairlead_http2_streams", direction=direction) == 0, f"{direction} streams")
        for out in chats:
            out.put(None)


def main():
    """The server of `OtherProcess`: prints its address."""
    me = b"%d" % os.getpid()

    def serve(messages, context):
        for _ in messages:
            yield me

    server = Server({"/t.T/Chat": STREAMS(serve)}, threads=32)
    print(server.address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
