"""HTTP/2 in, HTTP/1 out: nothing in a stream may become a second field, a second request or another body on the way. Each case
is refused, and the server writes down every byte that it is sent."""

from harness import PROTOCOL_ERROR, Daemon, HTTP1Upstream, HTTP2Upstream, case, eventually, expect

SPLIT = b"GET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n"


def raw(fields):
    """A header block of literals, with any bytes in names and values."""
    out = b""
    for name, value in fields:
        name = name if isinstance(name, bytes) else name.encode()
        value = value if isinstance(value, bytes) else value.encode()
        out += b"\x00" + integer(len(name)) + name + integer(len(value)) + value
    return out


def integer(value):
    if value < 127:
        return bytes([value])
    out, value = b"\x7f", value - 127
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def smuggles(sentence, *, more=(), replace=None, body=None, trailers=None, statuses=()):
    """The request is reset with PROTOCOL_ERROR (or answered by ourselves with one of `statuses`), and the server sees nothing of
    it; with a body, nothing but its own head and a body that is never whole."""

    @case(f"smuggling: {sentence}")
    def _():
        upstream = HTTP1Upstream()
        with Daemon(upstream) as daemon:
            client = daemon.client()
            client.expect_alive()
            fields = [(":method", "POST" if body is not None else "GET"), (":scheme", "http"), (":authority", "web"), (":path", "/bad")]
            fields = [(name, (replace or {}).get(name, value)) for name, value in fields] + list(more)
            number = client.take_number()
            client.send(client.headers(number, raw(fields), end=body is None and trailers is None))
            if body is not None:
                client.send(client.data(number, body, end=trailers is None))
            if trailers is not None:
                client.send(client.headers(number, raw(trailers)))
            response = client.wait(number)
            if response.status in statuses:
                expect(response["fairlead-code"], response)
            else:
                expect(response.fields is None and response.reset == PROTOCOL_ERROR, response)
                daemon.expect_error("FL1105")
            expect(client.get("/good").status == 200, "the connection does not go on")
            sent = b"".join(upstream.bytes)
            expect(b"smuggled" not in sent and b"evil" not in sent, sent)
            if body is None and trailers is None:
                expect(sent.startswith(b"GET /good HTTP/1.1\r\n") and sent.count(b"\r\n\r\n") == 1, sent)
            expect([request.target for request in upstream.requests] == ["/good"], [r.line for r in upstream.requests])


BYTES = {
    "CR LF": b"\r\n", "CR": b"\r", "LF": b"\n", "NUL": b"\0", "a space": b" ", "a tab": b"\t", "DEL": b"\x7f",
    "a control byte": b"\x01",
}

for title, byte in BYTES.items():
    smuggles(f"{title} in a name", more=[(b"x-a" + byte + b"evil", b"1")])
    if title not in ("a space", "a tab"):
        smuggles(f"{title} in a value", more=[(b"x-a", b"1" + byte + b"evil: 2")])
        smuggles(f"{title} at the end of a value", more=[(b"x-evil", b"1" + byte)])
        smuggles(f"{title} in a trailer's value", body=b"x", trailers=[(b"x-a", b"1" + byte + b"evil: 2")])
        smuggles(f"{title} in a cookie", more=[(b"cookie", b"a=1" + byte + b"evil: 2")])
    smuggles(f"{title} in :path", replace={":path": b"/bad" + byte + b"evil"})
    smuggles(f"{title} in :method", replace={":method": b"GET" + byte + b"evil"})
    smuggles(f"{title} in :authority", replace={":authority": b"web" + byte + b"evil"})
    smuggles(f"{title} in :scheme", replace={":scheme": b"http" + byte + b"evil"})
for title, byte in {"a space": b" ", "a tab": b"\t"}.items():
    smuggles(f"{title} in front of a value", more=[(b"x-evil", byte + b"1")])
    smuggles(f"{title} behind a value", more=[(b"x-evil", b"1" + byte)])
smuggles("a colon in a name", more=[(b"x-a: evil", b"1")])
smuggles("a colon at the end of a name", more=[(b"transfer-encoding:", b"chunked")])
smuggles("a colon in front of a name", more=[(b":evil", b"1")])
smuggles("a name of a colon", more=[(b":", b"evil")])
smuggles("a byte past ASCII in a name", more=[(b"evil\xe9", b"1")])
smuggles("a whole request in :path", replace={":path": b"/bad HTTP/1.1\r\nhost: web\r\n\r\n" + SPLIT})
smuggles("a whole request in :method", replace={":method": SPLIT + b"GET"})
smuggles("a whole request in :authority", replace={":authority": b"web\r\n\r\n" + SPLIT})
smuggles("a whole request in a value", more=[(b"x-a", b"b\r\n\r\n" + SPLIT)])
smuggles("transfer-encoding: chunked with a body that ends early", more=[(b"transfer-encoding", b"chunked")], body=b"0\r\n\r\n" + SPLIT)
smuggles("transfer-encoding with capitals", more=[(b"Transfer-Encoding", b"chunked")], body=b"0\r\n\r\n" + SPLIT)
smuggles("transfer-encoding and content-length", more=[(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], body=b"0\r\n\r\n")
smuggles("transfer-encoding among trailers", body=b"x", trailers=[(b"transfer-encoding", b"chunked")])
smuggles("content-length among trailers", body=b"x", trailers=[(b"content-length", b"evil")])
smuggles("connection that names a field", more=[(b"connection", b"host")])
smuggles("upgrade to h2c", more=[(b"upgrade", b"h2c"), (b"http2-settings", b"evil")])
smuggles("a content-length smaller than the DATA", more=[(b"content-length", b"4")], body=b"four" + SPLIT)
smuggles("a content-length of nothing with DATA", more=[(b"content-length", b"0")], body=SPLIT)


@case("smuggling: a content-length of nothing, and DATA when the head has gone on")
def _():
    upstream = HTTP1Upstream()
    with Daemon(upstream) as daemon:
        client = daemon.client()
        number = client.start("/bad", end=False, method="POST", more=[("content-length", "0")])
        eventually(lambda: any(b"/bad" in sent for sent in upstream.bytes), "the head did not come")
        client.send(client.data(number, SPLIT, end=True))
        expect(client.wait(number).reset == PROTOCOL_ERROR, client.stream(number))
        number = client.start("/empty", end=False, method="POST", more=[("content-length", "0")])
        client.send(client.data(number, b"", end=True))
        expect(client.wait(number).status == 200, client.stream(number))
        expect([request.target for request in upstream.requests] == ["/empty"], [r.line for r in upstream.requests])
        expect(b"smuggled" not in b"".join(upstream.bytes), upstream.bytes)


smuggles("a content-length larger than the DATA", more=[(b"content-length", b"40")], body=b"four")
smuggles("a list as content-length", more=[(b"content-length", b"4, 4")], body=b"four")
smuggles("a content-length in hex", more=[(b"content-length", b"0x4")], body=b"four")
smuggles("a content-length with a space", more=[(b"content-length", b"4 ")], body=b"four")
smuggles("content-length twice, the same", more=[(b"content-length", b"4"), (b"content-length", b"4")], body=b"four")
smuggles("content-length twice, not the same", more=[(b"content-length", b"4"), (b"content-length", b"40")], body=b"four")
smuggles("a second :authority", more=[(b":authority", b"evil")])
smuggles("a Host that is not the authority", more=[(b"host", b"evil")])
smuggles("Host twice", more=[(b"host", b"web"), (b"host", b"web")])
smuggles("a Host that is only a beginning of the authority", more=[(b"host", b"we")])
smuggles("an empty Host", more=[(b"host", b"")])
smuggles("a whole URI as :path", replace={":path": b"http://evil/bad"}, statuses=(400,))
smuggles("a whole URI as :path of another scheme", replace={":path": b"http://evil/bad", ":scheme": b"x"}, statuses=(400,))
smuggles("a :path that goes on behind the authority", replace={":path": b"@evil/", ":scheme": b"x"}, statuses=(400,))
smuggles("user information in :authority", replace={":authority": b"web@evil"}, statuses=(400,))
smuggles("a path in :authority", replace={":authority": b"web/evil"}, statuses=(400,))
smuggles("a comma in :authority", replace={":authority": b"web,evil"}, statuses=(400, 404))
smuggles("a query in :authority", replace={":authority": b"web?evil"}, statuses=(400,))


@case("smuggling: a fragment in :path is not passed on as one more")
def _():
    upstream = HTTP1Upstream()
    with Daemon(upstream) as daemon:
        client = daemon.client()
        response = client.get("/a#evil")
        expect(response.status in (200, 400) or response.reset == PROTOCOL_ERROR, response)


@case("smuggling: an upstream connection that a broken request was on is not used again")
def _():
    upstream = HTTP1Upstream()
    with Daemon(upstream) as daemon:
        client = daemon.client()
        for _ in range(5):
            number = client.start("/bad", end=False, method="POST", more=[("content-length", "100")])
            client.send(client.data(number, b"short", end=True))
            expect(client.wait(number).reset == PROTOCOL_ERROR, client.stream(number))
            expect(client.get("/good").status == 200, "the next request")
        expect(all(request.target == "/good" for request in upstream.requests), upstream.requests)


def answers(sentence, fields, *, data=None, trailers=None):
    """What an HTTP/2 server may not answer becomes a 502 for an HTTP/1 client, or the end of its connection; never more."""

    @case(f"smuggling: from a server: {sentence}")
    def _():
        def script(peer):
            while True:
                number = peer.next_request()
                if peer.stream(number)[":path"] == "/good":
                    peer.respond(number)
                    continue
                peer.send(peer.headers(number, raw(fields), end=data is None and trailers is None))
                if data is not None:
                    peer.try_send(peer.data(number, data, end=trailers is None))
                if trailers is not None:
                    peer.try_send(peer.headers(number, raw(trailers)))

        with Daemon(HTTP2Upstream(script), protocol="http2") as daemon:
            connection = daemon.socket()
            connection.sendall(b"GET /bad HTTP/1.1\r\nHost: web\r\nTE: trailers\r\n\r\n")
            received = b""
            try:
                while b"\r\n\r\n" not in received or (data is not None and not received.startswith(b"HTTP/1.1 502")):
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    received += piece
            except ConnectionResetError:
                pass
            except TimeoutError:
                raise AssertionError(received) from None
            expect(b"evil" not in received and received.count(b"HTTP/1.1 200") <= 1, received)
            if data is None:
                expect(received.startswith(b"HTTP/1.1 502 "), received)
            expect(not received.endswith(b"\r\n0\r\n\r\n"), received)
            daemon.expect_error("FL1105")


OK = (b":status", b"200")
answers("CR LF in a value", [OK, (b"x", b"1\r\nevil: 2")])
answers("LF in a value", [OK, (b"x", b"1\nevil: 2")])
answers("NUL in a value", [OK, (b"x", b"1\0evil")])
answers("CR LF in a name", [OK, (b"x\r\nevil", b"2")])
answers("a capital in a name", [OK, (b"Evil", b"2")])
answers("no :status", [(b"x-evil", b"1")])
answers(":status twice", [OK, OK, (b"x-evil", b"1")])
answers("a :status of two digits", [(b":status", b"20"), (b"x-evil", b"1")])
answers("a :status with more behind it", [(b":status", b"200 evil")])
answers("a :status of 101", [(b":status", b"101"), (b"x-evil", b"1")])
answers("a :status that is no number", [(b":status", b"2xx"), (b"x-evil", b"1")])
answers("a pseudo-field of requests", [OK, (b":path", b"/evil")])
answers("a pseudo-field behind a field", [(b"x-evil", b"1"), OK])
answers("transfer-encoding", [OK, (b"transfer-encoding", b"chunked"), (b"x-evil", b"1")])
answers("connection", [OK, (b"connection", b"close"), (b"x-evil", b"1")])
answers("a content-length that is no number", [OK, (b"content-length", b"1x"), (b"x-evil", b"1")])
answers("a content-length without a body", [OK, (b"content-length", b"5"), (b"x-evil", b"1")])
answers("more DATA than content-length", [OK, (b"content-length", b"5")], data=b"hello evil")
answers("less DATA than content-length", [OK, (b"content-length", b"50")], data=b"hello")
answers("a pseudo-field among trailers", [OK], data=b"hello", trailers=[(b":status", b"200")])
answers("CR LF in a trailer", [OK], data=b"hello", trailers=[(b"x", b"1\r\nevil: 2")])
