"""Requests in HTTP/1 that come behind one another without waiting for answers."""

from harness import Daemon, HTTP1Upstream, case, expect

RULES = """routes:
  - { match: { path: { exact: /now } }, respond: { status: 200, body: now } }
  - { match: { path: { exact: /late } }, to: /svc/web, fault: { delay: { percent: 100, duration: 100ms } } }"""


@case("pipelining: a request whose delay has begun when the answer before it goes out")
def _():
    with Daemon(HTTP1Upstream(), extra=RULES) as daemon:
        connection = daemon.socket()
        connection.sendall(b"GET /now HTTP/1.1\r\nhost: web\r\n\r\nGET /late HTTP/1.1\r\nhost: web\r\n\r\n")
        received = b""
        while not received.endswith(b"GET /late HTTP/1.1"):
            piece = connection.recv(65536)
            expect(piece, f"the connection ended behind {received}")
            received += piece
        expect(received.count(b"HTTP/1.1 200") == 2, received)


@case("pipelining: a request whose name is being asked for when the answer before it goes out")
def _():
    with Daemon(HTTP1Upstream(), extra=RULES) as daemon:
        for turn in range(50):
            with daemon.socket() as connection:
                connection.sendall(
                    b"GET /now HTTP/1.1\r\nhost: web\r\n\r\nGET / HTTP/1.1\r\nhost: nobody-%d\r\nconnection: close\r\n\r\n" % turn)
                received = b""
                while piece := connection.recv(65536):
                    received += piece
                expect(b"FL2003" in received, received)
