"""Connections to HTTP/2 endpoints and who waits for them: places that come free, credit that comes back, ends that peers do not
answer."""

import socket
import threading

from harness import (
    Daemon, HTTP1Upstream, HTTP2Upstream, WindowUpdateFrame, case, eventually, expect, ping, reset, settings)


@case("pooling: a request that waits to be spoken to in HTTP/2 does not get a connection with HTTP/1")
def _():
    answers = []

    class Both(HTTP1Upstream):
        def serve_one(self, connection):
            if connection.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL) == b"PRI ":
                HTTP2Upstream.serve_one(self, connection)
            else:
                super().serve_one(connection)

    def answer(connection, request):
        answers.append(connection)
        if request.target != "/first":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream = Both(answer)
    upstream.script, upstream.first, upstream.heads, upstream.peers = None, None, [], []
    with Daemon(upstream, protocol="same",
                policy="limits: { connections: 1, pending: 8 }\ntimeouts: { request: 3s }") as daemon:
        old = daemon.socket()
        old.sendall(b"GET /first HTTP/1.1\r\nhost: web\r\n\r\n")
        eventually(lambda: answers, "the first does not arrive")
        client = daemon.client()
        number = client.start("/second", end=False, method="POST")
        client.send(client.data(number, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n", end=True))
        eventually(lambda: daemon.metric("fairlead_pending_requests") == 1, "the second does not wait")
        answers[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        response = client.wait(number)
        expect(response.status == 200, response)
        expect([one.target for one in upstream.requests] == ["/first"], [one.line for one in upstream.requests])
        expect(dict(upstream.heads[0])[":path"] == "/second", upstream.heads)
