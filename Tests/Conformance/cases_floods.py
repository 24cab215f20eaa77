"""Clients that make work for nothing. Each flood is ended with the right error and counted, or its cost has a bound; the daemon's
memory hardly grows, it costs less processor time than ten polite connections, another client is served meanwhile, and the server
behind keeps its connections."""

import threading

from cases_flow import large
from harness import (
    ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, Daemon, HTTP1Upstream, HTTP2Upstream, Upstream, case,
    eventually, expect, frame, ping, reset, settings, window)
from hpack import Encoder
from hyperframe.frame import PriorityFrame, SettingsFrame

MIB = 1 << 20


def flood(sentence, round_, *, code=ENHANCE_YOUR_CALM, error="FL1106", rounds=20000, setup=None, growth=8 * MIB, first=None,
          answered=False):
    """Sends `round_(client)` until the connection ends, which it must within `rounds`, with `code`. Where each round opens a
    stream that the client does not reset itself, its end is to be `answered` first, or there would be too many at once."""

    @case(f"floods: {sentence}")
    def _():
        upstream = HTTP2Upstream()
        with Daemon(upstream, protocol="http2") as daemon:
            polite = daemon.client()
            expect(polite.get("/before").status == 200, "before")
            with daemon.expect_cost_below_ten_polite():
                client = daemon.client(first=first)
                client.expect_alive()
                if setup:
                    setup(client)
                sent = 0
                while sent < rounds and client.goaway is None and client.ended is None:
                    # Many at once, as a flood does, but what comes back is read.
                    if not client.try_send(b"".join(round_(client) for _ in range(50))):
                        break
                    sent += 50
                    client.read(0)
                    if answered:
                        client.read_until(
                            lambda: client.goaway or client.ended or sum(one.is_over for one in client.streams.values()) >= sent,
                            "the ends of the streams")
                client.read_until(lambda: client.goaway or client.ended, "the end of the flood")
            expect(client.goaway is not None, f"the connection ended ({client.ended}) without a GOAWAY after {sent}")
            codes = code if isinstance(code, tuple) else (code,)
            expect(client.goaway.error_code in codes, f"GOAWAY {client.goaway}")
            errors = error if isinstance(error, tuple) else (error,)
            eventually(lambda: sum(daemon.errors(one) for one in errors) >= 1, f"{error} is not counted")
            daemon.expect_memory_growth_below(growth)
            expect(polite.get("/after").status == 200, "a client that was there before")
            daemon.expect_polite_client_is_served()
            expect(len(upstream.peers) == 1, f"{len(upstream.peers)} connections to the server")
            expect(upstream.peers[0].ended is None and upstream.peers[0].goaway is None, "the server's connection ended")


def serialized(*frames):
    return b"".join(one if isinstance(one, bytes) else one.serialize() for one in frames)


def rapid_reset(client):
    number = client.take_number()
    return serialized(client.headers(number, client.fields("/reset")), reset(number))


def rapid_malformed(client):
    number = client.take_number()
    return serialized(client.headers(number, client.fields("/reset", more=[("connection", "x")])), reset(number))


def malformed(client):
    return client.headers(client.take_number(), [(":method", "GET")])


def empty_head(client):
    return client.headers(client.take_number(), b"")


flood("rapid reset (CVE-2023-44487)", rapid_reset)
flood("rapid reset behind a body's beginning",
      lambda c: (lambda n: serialized(c.headers(n, c.fields("/reset", method="POST"), end=False), c.data(n, b"x"), reset(n)))(c.take_number()))
flood("rapid reset of malformed requests", rapid_malformed)
flood("malformed requests", malformed, answered=True)
flood("HEADERS without a field", empty_head, answered=True)


def made_you_reset(title, provoke, method="POST"):
    """CVE-2025-8671: the client has the server reset each stream once the request is on its way."""

    def round_(client):
        number = client.take_number()
        return serialized(client.headers(number, client.fields("/made", method=method), end=method == "GET"), provoke(client, number))

    # What nghttp2 takes for a broken connection ends at the first, the rest when it is a flood.
    flood(f"MadeYouReset: {title}", round_, code=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, 5, 6),
          error=("FL1105", "FL1106"))


made_you_reset("WINDOW_UPDATE of 0", lambda c, n: frame(8, 0, n, bytes(4)))
made_you_reset("a window past 2^31 - 1", lambda c, n: window(n, 2**31 - 1))
made_you_reset("DATA behind the end of the stream", lambda c, n: c.data(n, b"x"), method="GET")
made_you_reset("HEADERS behind the end of the stream", lambda c, n: c.headers(n, c.fields()), method="GET")
made_you_reset("PRIORITY of four bytes", lambda c, n: frame(2, 0, n, bytes(4)))
made_you_reset("PRIORITY that depends on itself", lambda c, n: PriorityFrame(n, depends_on=n, stream_weight=1).serialize())
made_you_reset("trailers that do not end the stream",
               lambda c, n: serialized(c.data(n, b"x"), c.headers(n, [("a", "b")], end=False)))
made_you_reset("trailers with a pseudo-field", lambda c, n: serialized(c.data(n, b"x"), c.headers(n, [(":path", "/")])))

flood("PING (CVE-2019-9512)", lambda c: ping().serialize())
flood("SETTINGS (CVE-2019-9515)", lambda c: settings(INITIAL_WINDOW_SIZE=65535).serialize())
flood("empty SETTINGS", lambda c: SettingsFrame(0).serialize())
flood("PRIORITY", lambda c: PriorityFrame(1 + 2 * 4, depends_on=3, stream_weight=1).serialize())
flood("resets of a stream that is gone", lambda c: reset(1).serialize(),
      setup=lambda c: c.get("/once"))
flood("WINDOW_UPDATE of a stream that is gone", lambda c: window(1, 1).serialize(), setup=lambda c: c.get("/once"))


def open_upload(client):
    client.upload = client.start("/upload", end=False, method="POST")


flood("empty DATA (CVE-2019-9518)", lambda c: c.data(c.upload), setup=open_upload)
flood("DATA of nothing but padding", lambda c: c.data(c.upload, pad=0), setup=open_upload)
flood("WINDOW_UPDATE of the connection", lambda c: window(0, 1).serialize(), rounds=200000)
flood("WINDOW_UPDATE of an open stream", lambda c: window(c.upload, 1).serialize(), setup=open_upload, rounds=200000)
flood("window of a connection overflown", lambda c: window(0, 2**30).serialize(), code=FLOW_CONTROL_ERROR, error="FL1105")


@case("floods: unknown frames cost less than what a polite client of as many bytes does")
def _():
    # nghttp2 throws them away without a word, so they are not counted; each is a few instructions.
    with Daemon(HTTP2Upstream(), protocol="http2") as daemon:
        client = daemon.client()
        client.expect_alive()
        before = daemon.processor_seconds()
        for _ in range(1000):
            client.send(frame(0xEE, 0, 0, b"") * 1000)
        client.expect_alive()
        flooded = daemon.processor_seconds() - before
        polite = daemon.client()
        before = daemon.processor_seconds()
        for _ in range(2000):
            polite.get("/polite")
        served = daemon.processor_seconds() - before
        # 9,000,000 bytes against 2,000 requests of about 30.
        expect(flooded < 10 * served * (9_000_000 / 60_000), f"{flooded} s for unknown frames, {served} s for requests")
        daemon.expect_memory_growth_below(4 * MIB)


@case("floods: CONTINUATION without an end (CVE-2024-28182)")
def _():
    for payload in (b"", b"\x82" * 16000, b"\x00\x01a\x01b" * 3000):
        upstream = HTTP2Upstream()
        with Daemon(upstream, protocol="http2") as daemon:
            with daemon.expect_cost_below_ten_polite():
                client = daemon.client()
                client.expect_alive()
                client.send(frame(1, 1, 1, b"\x82"))
                for _ in range(5000):
                    if not client.try_send(frame(9, 0, 1, payload)):
                        break
                    client.read(0)
                    if client.goaway:
                        break
                client.read_until(lambda: client.goaway or client.ended, "an end")
            expect(client.goaway and client.goaway.error_code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, 2, 9), client.goaway)
            eventually(lambda: daemon.errors("FL1105") + daemon.errors("FL1106") >= 1, "not counted")
            daemon.expect_memory_growth_below(4 * MIB)
            daemon.expect_polite_client_is_served()


@case("floods: an HPACK bomb costs no memory and ends the connection (CVE-2016-6581)")
def _():
    upstream = HTTP2Upstream()
    with Daemon(upstream, protocol="http2") as daemon:
        with daemon.expect_cost_below_ten_polite():
            client = daemon.client()
            client.expect_alive()
            # One entry that fills the table, then named by one byte each: 4 KiB of field for every byte of the block.
            entry = b"\x40\x01x\x7f" + bytes([(3900 - 127) & 127 | 128, (3900 - 127) >> 7]) + b"v" * 3900
            base = Encoder().encode(client.fields("/bomb"), huffman=False)
            client.send(frame(1, 5, 1, base + entry))
            client.wait(1)
            rounds = 0
            while client.goaway is None and client.ended is None and rounds < 2000:
                number = 3 + 2 * rounds
                if not client.try_send(frame(1, 5, number, b"\x82\x86\x84\x01\x03web" + b"\xbe" * 16000)):
                    break
                client.read(0)
                rounds += 1
            client.read_until(lambda: client.goaway or client.ended, "the end of the bombs")
        expect(client.goaway is not None and client.goaway.error_code == ENHANCE_YOUR_CALM, f"{client.goaway} after {rounds}")
        daemon.expect_memory_growth_below(8 * MIB)
        daemon.expect_error("FL1106")
        daemon.expect_polite_client_is_served()


@case("floods: a header table that is thrashed costs no memory")
def _():
    upstream = HTTP2Upstream()
    with Daemon(upstream, protocol="http2") as daemon:
        with daemon.expect_cost_below_ten_polite():
            client = daemon.client()
            client.expect_alive()
            for place in range(300):
                if place % 10 == 0:
                    client.send(settings(HEADER_TABLE_SIZE=0 if place % 20 else 4096))
                number = client.take_number()
                block = b"".join(b"\x40" + bytes([6]) + b"x-%04d" % ((place * 97 + at) % 10000) + b"\x01v" for at in range(60))
                base = Encoder().encode(client.fields("/thrash"), huffman=False)
                client.send(frame(1, 5, number, base + block))
                client.read_until(lambda: client.stream(number).is_over or client.goaway, "an answer")
                if client.goaway:
                    break
        daemon.expect_memory_growth_below(8 * MIB)
        daemon.expect_polite_client_is_served()


@case("floods: answers to PING and SETTINGS that nobody reads end the connection")
def _():
    for one in (ping().serialize(), settings(INITIAL_WINDOW_SIZE=65535).serialize()):
        with Daemon(HTTP2Upstream(), protocol="http2") as daemon:
            with daemon.expect_cost_below_ten_polite():
                client = daemon.client(receive_buffer=4096)
                for _ in range(4000):
                    if not client.try_send(one * 50):
                        break
                daemon.expect_error("FL1106")
            daemon.expect_memory_growth_below(4 * MIB)
            daemon.expect_polite_client_is_served()


@case("floods: a client that never reads holds no more than the windows")
def _():
    # As much as the windows that it is given allow, and no more: who breaks them ends its connection.
    with Daemon(HTTP2Upstream(large), protocol="http2") as daemon:
        clients = [daemon.client(receive_buffer=4096, first=settings(INITIAL_WINDOW_SIZE=2**31 - 1)) for _ in range(4)]
        for client in clients:
            client.send(window(0, 2**31 - 1 - 65535))
            for place in range(100):
                client.start(f"/{place}")
        eventually(lambda: daemon.metric("fairlead_http2_streams", direction="upstream") >= 100, "requests upstream")
        daemon.expect_polite_client_is_served()
        # Four connections with 100 streams, each with what a stream may hold.
        daemon.expect_memory_growth_below(400 * 3 * 66 * 1024)


@case("floods: DATA of one byte each is forwarded within bounds")
def _():
    upstream = HTTP1Upstream()
    with Daemon(upstream) as daemon:
        with daemon.expect_cost_below_ten_polite():
            client = daemon.client()
            client.expect_alive()
            number = client.start("/a", end=False, method="POST")
            for _ in range(200):
                client.send(client.data(number, b"x") * 100)
                client.read(0)
            client.send(client.data(number, b"", end=True))
            client.read_until(lambda: client.goaway or client.stream(number).is_over, "an answer")
        expect(client.goaway or len(upstream.requests[0].body) == 20000, "the body")
        daemon.expect_memory_growth_below(8 * MIB)
        daemon.expect_polite_client_is_served()


@case("floods: DATA of one byte each to a server that does not read is held within bounds")
def _():
    upstream = Upstream(lambda connection: threading.Event().wait(60))
    with Daemon(upstream) as daemon:
        client = daemon.client()
        client.expect_alive()
        numbers = [client.start("/a", end=False, method="POST") for _ in range(10)]
        for number in numbers:
            for _ in range(600):
                if not client.try_send(client.data(number, b"x") * 100):
                    break
                client.read(0)
                if client.goaway:
                    break
        daemon.expect_memory_growth_below(32 * MIB)


@case("floods: a window of one byte gets a response byte by byte within bounds (CVE-2019-9511)")
def _():
    def script(peer):
        while True:
            number = peer.next_request()
            peer.respond(number, body=b"y" * 16000 if peer.stream(number)[":path"] == "/dribble" else None)

    with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
        with daemon.expect_cost_below_ten_polite():
            client = daemon.client(first=settings(INITIAL_WINDOW_SIZE=0), credits=False)
            numbers = [client.start("/dribble") for _ in range(50)]
            for _ in range(400):
                if not client.try_send(b"".join(window(number, 1).serialize() for number in numbers)):
                    break
                client.read(0)
                if client.goaway:
                    break
        daemon.expect_memory_growth_below(16 * MIB)
        daemon.expect_polite_client_is_served()


@case("floods: fields that make the rules' patterns backtrack are refused after a while, whichever rule would have had the request")
def _():
    rules = "\n".join(
        f'  - {{ match: {{ headers: [ {{ name: x, regex: "(a|aa)+b{number}" }} ] }}, respond: {{ status: 403 }} }}'
        for number in range(20))
    with Daemon(HTTP2Upstream(), protocol="http2", extra=f"routes:\n{rules}") as daemon:
        client = daemon.client()
        expect(client.get("/before", more=[("x", "aaab")]).status == 200, "a field that matches nothing")
        expect(client.get("/before", more=[("x", "aaab7")]).status == 403, "a field that matches")
        with daemon.expect_cost_below_ten_polite():
            for _ in range(10):
                response = client.get("/", more=[("x", "a" * 40 + "!b0123456789")] * 100)
                expect(response.status == 400 and response["fairlead-code"] == "FL2402", response)
        daemon.expect_error("FL2402", 10)
        expect(client.get("/after", more=[("x", "aaab7")]).status == 403, "the same connection goes on")
        daemon.expect_polite_client_is_served()
