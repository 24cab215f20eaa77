"""Copies of requests, with another protocol where they go than where their originals do."""

from harness import Daemon, HTTP1Upstream, HTTP2Upstream, case, eventually, expect

SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n"


def rules(protocol):
    return f"""  - {{ name: /svc/shadow, protocol: {protocol} }}
routes:
  - {{ match: {{}}, to: /svc/web, mirror: {{ to: /svc/shadow, percent: 100 }} }}"""


@case("mirror: a request to an HTTP/2 endpoint, and its copy to one with HTTP/1")
def _():
    shadow = HTTP1Upstream()
    with Daemon(HTTP2Upstream(), protocol="http2", extra=rules("http1"), more={"shadow": shadow}) as daemon:
        client = daemon.client()
        expect(client.get("/a").status == 200, "without a body")
        expect(client.post("/b", SMUGGLED).status == 200, "without a length")
        expect(client.post("/c", SMUGGLED, more=[("content-length", str(len(SMUGGLED)))]).status == 200, "with a length")
        number = client.start("/d", end=False, method="POST")
        client.send(client.data(number, b"body"), client.headers(number, [("x-trailer", "t")]))
        expect(client.wait(number).status == 200, "with trailers")
        eventually(
            lambda: daemon.metric("fairlead_mirrors_total", outcome="answered") == 4,
            lambda: f"{[(one.line, one.body) for one in shadow.requests]} {shadow.bytes}")
        bodies = {one.target: one.body for one in shadow.requests}
        expect(bodies == {"/a": b"", "/b": SMUGGLED, "/c": SMUGGLED, "/d": b"body"}, bodies)
        expect(b"x-trailer: t" in b"".join(one.trailers for one in shadow.requests), "the trailer section")


@case("mirror: a request to an endpoint with HTTP/1, and its copy to one with HTTP/2")
def _():
    shadow = HTTP2Upstream()
    with Daemon(HTTP1Upstream(), protocol="http1", extra=rules("http2"), more={"shadow": shadow}) as daemon:
        with daemon.socket() as connection:
            for request in (
                    b"GET /a HTTP/1.1\r\nhost: web\r\n\r\n",
                    b"POST /b HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\n\r\nbody",
                    b"POST /c HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"):
                connection.sendall(request)
                expect(connection.recv(65536).startswith(b"HTTP/1.1 200"), request)
        client = daemon.client()
        expect(client.post("/d", b"body").status == 200, "by a client with HTTP/2")
        eventually(
            lambda: daemon.metric("fairlead_mirrors_total", outcome="answered") == 4,
            lambda: f"{[peer.streams for peer in shadow.peers]}")
        bodies = {one[":path"]: one.data for peer in shadow.peers for one in peer.streams.values()}
        expect(bodies == {"/a": b"", "/b": b"body", "/c": b"body", "/d": b"body"}, bodies)
