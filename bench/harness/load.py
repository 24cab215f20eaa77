"""The load: h2load as fast as it goes, h2load at a fixed rate, and thousands of idle keep-alive connections.
Each returns plain numbers; nothing here decides what they mean."""

import os
import re
import socket
import subprocess
import time

from . import system


class Workload:
    def __init__(self, name, path, connections, title, way="h1", streams=0, host="web", fields=(), body=None):
        self.name, self.path, self.connections, self.title, self.host = name, path, connections, title, host
        # Which of the proxy's ports (`proxies.WAYS`), and how many streams of HTTP/2 on each connection; 0 is HTTP/1.
        self.way, self.streams = way, streams
        self.fields, self.body = fields, body


GRPC = ("content-type: application/grpc", "te: trailers")

WORKLOADS = [
    Workload("get100c64", "/100", 64, "GET, 100 B body, 64 connections"),
    Workload("get100c1", "/100", 1, "GET, 100 B body, 1 connection"),
    Workload("get100c1000", "/100", 1000, "GET, 100 B body, 1000 connections"),
    Workload("get16kc64", "/16k", 64, "GET, 16 KiB body, 64 connections"),
    Workload("get16kc1", "/16k", 1, "GET, 16 KiB body, 1 connection"),
    Workload("get16kc1000", "/16k", 1000, "GET, 16 KiB body, 1000 connections"),
    Workload("post1kc64", "/post", 64, "POST, 1 KiB body, 64 connections", body="post"),
    Workload("chunked1mc16", "/chunked1m", 16, "GET, 1 MiB chunked streaming, 16 connections"),
    Workload("h2h1", "/100", 8, "HTTP/2 to HTTP/1: GET, 100 B body, 8 connections × 16 streams", way="h2", streams=16),
    Workload("h2h2", "/100", 8, "HTTP/2 to HTTP/2: GET, 100 B body, 8 connections × 16 streams", way="h2h2", streams=16,
             host="h2"),
    Workload("grpc", "/bench.Echo/Call", 8, "gRPC unary, 100 B messages, 8 connections × 16 streams", way="grpc", streams=16,
             host="h2", fields=GRPC, body="message"),
    Workload("websocket", "/", 64, "WebSocket echo, 100 B messages, 64 connections", way="ws", host="ws"),
    Workload("tcpbulk", "/chunked1m", 1, "TCP, one connection, 1 MiB responses one after another", way="tcp"),
    Workload("tcp100c64", "/100", 64, "TCP, 64 connections, 100 B requests and responses", way="tcp"),
]


def _h2load(proxy, workload, seconds, extra, prefix=()):
    setting = proxy.setting
    version = ["-m", str(workload.streams)] if workload.streams else ["--h1"]
    command = list(prefix) + ["taskset", "-c", str(setting.generator_core), "h2load", *version, "-t", "1",
                              "-c", str(workload.connections), "-D", f"{round(seconds * 1000)}ms",
                              f"--connect-to=127.0.0.1:{proxy.ports[workload.way]}"] + extra
    for field in workload.fields:
        command += ["-H", field]
    if workload.body:
        command += ["-d", setting.bodies[workload.body]]
    # The Host sent is the URL's; a second Host by -H would rightly be refused.
    process = system.start(command + [f"http://{workload.host}{workload.path}"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=seconds * 4 + 60)
    finally:
        system.stop(process)
    done, failed = counted(out)
    return done, failed, out, err


def _websocket(proxy, workload, seconds, prefix=()):
    """The same for messages that come back as they were sent."""
    setting = proxy.setting
    command = list(prefix) + ["taskset", "-c", str(setting.generator_core), os.path.join(setting.directory, "websocket"),
                              "load", str(proxy.ports["ws"]), str(workload.connections), f"{seconds:g}", workload.host]
    process = system.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=seconds * 4 + 60)
    finally:
        system.stop(process)
    found = re.search(r"(\d+) done, (\d+) failed", out)
    if not found:
        raise RuntimeError(f"the WebSocket load said nothing usable:\n{out}{err}")
    return int(found[1]), int(found[2]), out, err


def counted(out):
    """Requests done and failed, from what h2load printed."""
    found = re.search(r"requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    if not found:
        raise RuntimeError(f"h2load said nothing usable:\n{out}")
    done, succeeded, failed, _, _ = map(int, found.groups())
    codes = re.search(r"status codes: (\d+) 2xx", out)
    # An answer that is not 2xx is a failure whatever h2load thinks of it; errored counts are part of failed.
    not_2xx = max(0, succeeded - int(codes.group(1))) if codes else succeeded
    return done, failed + not_2xx


def full_speed(proxy, workload, seconds, instructions=False):
    """As fast as the connections go: requests/s, CPU µs per request of the proxy, how busy its core was."""
    prefix = []
    if instructions:
        prefix = ["perf", "stat", "-x,", "-e", "instructions:u,instructions:k", "-p", ",".join(map(str, proxy.pids)), "--"]
    cpu, wall = system.cpu_seconds(proxy.pids), time.monotonic()
    if workload.way == "ws":
        done, failed, _, err = _websocket(proxy, workload, seconds, prefix)
    else:
        done, failed, _, err = _h2load(proxy, workload, seconds, [], prefix)
    cpu, wall = system.cpu_seconds(proxy.pids) - cpu, time.monotonic() - wall
    result = {"rps": done / seconds, "cpu": cpu * 1e6 / max(done, 1), "busy": cpu / wall, "failed": failed}
    if instructions:
        counted = [int(line.split(",")[0]) for line in err.splitlines()
                   if "instructions" in line and line.split(",")[0].isdigit()]
        if counted:
            result["instructions"] = sum(counted) / max(done, 1)
    return result


def fixed_rate(proxy, workload, seconds, rate):
    """p50 and p99 in µs at `rate` requests/s in all, from h2load's log of every request; `span` is the time, in seconds, from the
    first to the last of them."""
    log = os.path.join(proxy.setting.directory, "requests.log")
    if os.path.exists(log):
        os.unlink(log)
    cpu = system.cpu_seconds(proxy.pids)
    per_client = max(rate / workload.connections, 0.1)
    done, failed, _, _ = _h2load(proxy, workload, seconds, ["--rps", f"{per_client:.3f}", "--log-file", log])
    cpu = system.cpu_seconds(proxy.pids) - cpu
    with open(log) as file:
        lines = [line.split("\t") for line in file]
    os.unlink(log)
    began, taken = [int(line[0]) for line in lines], sorted(int(line[2]) for line in lines)
    if not taken:
        raise RuntimeError(f"no request was answered at {rate:.0f} requests/s")

    def percentile(share):
        return taken[min(len(taken) - 1, int(len(taken) * share))]

    return {"p50": percentile(0.50), "p99": percentile(0.99), "rate_cpu": cpu * 1e6 / max(done, 1),
            "rate_rps": done / seconds, "failed": failed, "span": (max(began) - min(began)) / 1e6}


class IdleClients:
    """Keep-alive connections that each make a request when told, and otherwise stay open and silent."""

    def __init__(self, port):
        self.port, self.sockets, self.errors = port, [], 0

    def open(self, until):
        """Opens connections one after another until there are that many; each makes one request."""
        while len(self.sockets) < until:
            try:
                client = socket.create_connection(("127.0.0.1", self.port), 10)
            except OSError:
                self.errors += 1
                client = None
            self.sockets.append(client)
            self._request(client)

    def again(self):
        """One more request on every open connection."""
        for client in self.sockets:
            self._request(client)

    def _request(self, client):
        if client is None:
            return
        try:
            if not self.exchange(client):
                self.errors += 1
        except OSError:
            self.errors += 1

    def exchange(self, client):
        """One request and its response. False for a response that is not the right one."""
        client.sendall(b"GET /100 HTTP/1.1\r\nHost: web\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < 100:
            answer += received(client)
        return answer.startswith(b"HTTP/1.1 200")

    def close(self):
        for client in self.sockets:
            if client:
                client.close()


def received(client):
    more = client.recv(4096)
    if not more:
        raise OSError("closed")
    return more


class IdleHTTP2Clients(IdleClients):
    """The same with HTTP/2, each request on a stream of its own."""

    def __init__(self, port):
        super().__init__(port)
        self.streams = {}

    def exchange(self, client):
        stream = self.streams.get(client, -1) + 2
        self.streams[client] = stream
        frames = b""
        if stream == 1:
            frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b"") + self.frame(4, 1, 0, b"")
        # GET, http, :authority web, :path /100; only GET and http come from the static table (RFC 7541).
        frames += self.frame(1, 5, stream, b"\x82\x86\x01\x03web\x04\x04/100")
        client.sendall(frames)
        held, is_right = b"", False
        while True:
            while len(held) >= 9 and len(held) >= 9 + int.from_bytes(held[:3], "big"):
                length = int.from_bytes(held[:3], "big")
                kind, flags, number = held[3], held[4], int.from_bytes(held[5:9], "big")
                payload, held = held[9:9 + length], held[9 + length:]
                if kind == 1 and number == stream:
                    # :status 200, from the static table or from the dynamic one, which starts behind it.
                    is_right = payload[:1] == b"\x88" or payload[1:2] == b"\x88"
                if kind in (3, 7):
                    return False
                if number == stream and flags & 1:
                    return is_right
            held += received(client)

    @staticmethod
    def frame(kind, flags, stream, payload):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def idle_http2_memory(proxy, counted):
    """Resident bytes per idle HTTP/2 connection over `counted` of them."""
    start, _ = system.memory(proxy.pids)
    clients = IdleHTTP2Clients(proxy.ports["h2"])
    try:
        clients.open(counted)
        time.sleep(3)  # an idle connection may be made smaller a while after its last request
        resident, _ = system.memory(proxy.pids)
        clients.again()
    finally:
        clients.close()
    return {"idle_http2_resident": (resident - start) / counted, "http2_errors": clients.errors}


def idle_memory(proxy, counted, most):
    """Resident bytes per idle connection over `counted` of them, then errors with `most` of them open and used again."""
    start_resident, start_anonymous = system.memory(proxy.pids)
    clients = IdleClients(proxy.ports["h1"])
    try:
        clients.open(counted)
        time.sleep(1)  # let the proxy settle: it may hand memory back after the last answer
        resident, anonymous = system.memory(proxy.pids)
        clients.open(most)
        clients.again()
    finally:
        clients.close()
    return {"start_resident": start_resident, "start_anonymous": start_anonymous,
            "idle_resident": (resident - start_resident) / counted,
            "idle_anonymous": (anonymous - start_anonymous) / counted, "open_errors": clients.errors, "open": most}
