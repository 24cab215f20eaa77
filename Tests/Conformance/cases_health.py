"""Health checks of gRPC servers (`healthCheck: { kind: grpc }`), against grpcio's own server and health service."""

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from harness import HTTP2Upstream, Daemon, Upstream, case, eventually, expect, reset

CHECK = "{{ kind: grpc, service: {service}, interval: 100ms, timeout: 300ms, healthy: 2, unhealthy: 2 }}"


class GRPCServer:
    """A real gRPC server whose only method counts its calls. With `health` it tells how it is."""

    def __init__(self, health=True):
        # Here and not above: importing it takes longer than most cases do.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
        import grpc
        from grpc_health.v1 import health as checks, health_pb2, health_pb2_grpc

        class Handler(grpc.GenericRpcHandler):
            def service(_, details):
                def say(request, context):
                    self.calls += 1
                    return request

                return grpc.unary_unary_rpc_method_handler(say) if details.method == "/shop.Cart/Say" else None

        self.calls = 0
        self.words = health_pb2.HealthCheckResponse
        self.server = grpc.server(ThreadPoolExecutor(8))
        self.server.add_generic_rpc_handlers([Handler()])
        if health:
            self.health = checks.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.address = "127.0.0.1:%d" % self.server.add_insecure_port("127.0.0.1:0")
        self.problems = []
        self.server.start()

    def set(self, status, service="shop.Cart"):
        self.health.set(service, self.words.ServingStatus.Value(status))

    def close(self):
        self.server.stop(0).wait()


class Refusing:
    """An address that nobody listens on."""

    def __init__(self):
        self.socket, self.problems = socket.socket(), []
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

    def close(self):
        self.socket.close()


def endpoint(daemon, server):
    """What `/endpoints` says of a server."""
    told = json.loads(daemon.admin("/endpoints")[1])["endpoints"]
    return next(one for one in told if one["address"] == server.address)


def expect_state(daemon, server, state, failure):
    def told():
        one = endpoint(daemon, server)
        return one["state"], one.get("checkFailure")

    eventually(lambda: told() == (state, failure), lambda: f"{told()}, not {(state, failure)}")


def call(daemon, count):
    """So many calls through the daemon, all of which are answered."""
    import grpc

    target = "%s:%d" % daemon.address
    with grpc.insecure_channel(target, options=[("grpc.default_authority", "web")]) as channel:
        say = channel.unary_unary("/shop.Cart/Say")
        for _ in range(count):
            expect(say(b"hello", timeout=10) == b"hello", "another answer")


@case("health: a gRPC server that stops serving gets no calls, and gets them again when it serves")
def switched():
    one, other = GRPCServer(), GRPCServer()
    one.set("SERVING")
    other.set("SERVING")
    policy = "healthCheck: " + CHECK.format(service="shop.Cart")
    with Daemon(protocol="http2", endpoints=[one.address, other.address], policy=policy) as daemon:
        daemon.upstreams += [one, other]
        # The metric is there with the first check.
        eventually(
            lambda: "fairlead_health_checks_total{" in daemon.admin("/metrics")[1]
            and daemon.metric("fairlead_health_checks_total", outcome="success") >= 2, "no check was passed")
        call(daemon, 20)
        expect(one.calls > 0 and other.calls > 0, f"{one.calls} and {other.calls} calls")
        for status in ["NOT_SERVING", "UNKNOWN"]:
            one.set(status)
            expect_state(daemon, one, "unhealthy", status)
            expect(daemon.metric("fairlead_endpoint_state", state="unhealthy") == 1, "the metric says otherwise")
            before = one.calls
            call(daemon, 20)
            expect(one.calls == before, f"{one.calls - before} calls to a server that does not serve")
            one.set("SERVING")
            expect_state(daemon, one, "live", None)
        before = one.calls
        eventually(lambda: call(daemon, 5) or one.calls > before, "it has got no call since")
        expect(endpoint(daemon, other).get("checkFailure") is None, "the other one failed a check")
        # Every call is counted with its service, and there is a series only for what came.
        calls = daemon.metric("fairlead_grpc_responses_total", service="web", grpc_status="0")
        expect(calls == one.calls + other.calls, f"{calls} calls counted, {one.calls} and {other.calls} made")
        series = [line for line in daemon.admin("/metrics")[1].splitlines()
                  if line.startswith("fairlead_grpc_responses_total{")]
        expect(len(series) == 1, series)


@case("health: each way not to be well is a failed check, and the reason is told")
def reasons():
    def silent(connection):
        while connection.recv(65536):
            pass

    def old(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def closing(connection):
        connection.recv(65536)

    def answering(*, number=None, **options):
        def serve(peer):
            while True:
                request = peer.next_request()
                if options:
                    peer.respond(request, **options)
                else:
                    peer.send(reset(request))

        return serve

    ok = [("grpc-status", "0")]
    serving = b"\0\0\0\0\2\x08\x01"
    without, unknown, refusing = GRPCServer(health=False), GRPCServer(), Refusing()
    nonsense = "no answer that makes sense"
    reasons = [
        (without, "gRPC status 12 UNIMPLEMENTED"),
        (unknown, "gRPC status 5 NOT_FOUND"),
        (refusing, "no connection"),
        (Upstream(silent), "no answer in time"),
        (Upstream(closing), "closed without an answer"),
        (Upstream(old), nonsense),
        (HTTP2Upstream(answering()), "closed without an answer"),
        (HTTP2Upstream(answering(status="404", body=b"")), "HTTP status 404"),
        (HTTP2Upstream(answering(body=serving)), nonsense),
        (HTTP2Upstream(answering(body=b"hello", trailers=ok)), nonsense),
        (HTTP2Upstream(answering(body=b"x" * 60_000, trailers=ok)), nonsense),
        (HTTP2Upstream(answering(body=serving, trailers=[("grpc-status", "14")])), "gRPC status 14 UNAVAILABLE"),
        (HTTP2Upstream(answering(body=b"", trailers=[("grpc-status", "8")])), "gRPC status 8 RESOURCE_EXHAUSTED"),
        (HTTP2Upstream(answering(body=b"\0\0\0\0\0", trailers=ok)), "UNKNOWN"),
        (HTTP2Upstream(answering(body=b"\0\0\0\0\2\x08\x03", trailers=ok)), "SERVICE_UNKNOWN"),
        (HTTP2Upstream(answering(body=serving, trailers=ok)), None),
        # A field that nobody here knows, in front of the status.
        (HTTP2Upstream(answering(body=b"\0\0\0\0\7\x12\3abc" + serving[5:], trailers=ok)), None),
    ]
    policy = "healthCheck: " + CHECK.format(service="shop.Cart")
    servers = [server for server, _ in reasons]
    with Daemon(protocol="http2", endpoints=[server.address for server in servers], policy=policy) as daemon:
        daemon.upstreams += servers
        for server, reason in reasons:
            expect_state(daemon, server, "unhealthy" if reason else "live", reason)
        heads = [dict(head) for head in servers[-2].heads]
        expect(
            all(
                head[":path"] == "/grpc.health.v1.Health/Check" and head[":authority"] == "web"
                and head["content-type"] == "application/grpc" and head["grpc-timeout"] == "300m"
                and head["te"] == "trailers" for head in heads), f"asked {heads[:1]}")
        bodies = {bytes(stream.data) for peer in servers[-2].peers for stream in peer.streams.values()}
        expect(bodies == {b"\0\0\0\0\x0b\x0a\x09shop.Cart"}, f"asked {bodies}")


@case("health: a gRPC server is asked for its health as a whole where no service is named")
def whole():
    server = GRPCServer()
    policy = "healthCheck: { kind: grpc, interval: 100ms, unhealthy: 1 }"
    with Daemon(upstream=server, protocol="http2", policy=policy) as daemon:
        server.set("NOT_SERVING", service="")
        expect_state(daemon, server, "unhealthy", "NOT_SERVING")
        server.set("SERVING", service="")
        expect_state(daemon, server, "live", None)
