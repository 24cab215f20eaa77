"""Real servers and clients of every protocol that is detected, for DetectionTests: `serve ADDRESS` starts gRPC on 7001, WebSocket on 7002,
SMTP on 7025 and an echo on 7777; `grpc`, `websocket`, `smtp` and `echo` with ADDRESS PORT are their clients."""

import concurrent.futures
import smtplib
import socket
import socketserver
import sys
import threading

import grpc
import websockets.sync.client
import websockets.sync.server


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(lambda messages, context: (one.upper() for one in messages))


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 mail.local speaks first\r\n")
        for line in self.rfile:
            if line.upper().startswith(b"QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 " + line.strip().lower() + b"\r\n")


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while piece := self.request.recv(65_536):
            self.request.sendall(piece)


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def upper(connection):
    for message in connection:
        connection.send(message.upper())


def serve(address):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[Handler()])
    server.add_insecure_port(f"{address}:7001")
    server.start()
    others = [
        websockets.sync.server.serve(upper, address, 7002), Listener((address, 7025), Mail), Listener((address, 7777), Echo)]
    for other in others:
        threading.Thread(target=other.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def call(address, port):
    options = [("grpc.default_authority", "grpc"), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"ipv4:{address}:{port}", options=options) as channel:
        return b" ".join(channel.stream_stream("/t.T/Upper")(iter([b"three", b"small", b"words"]), timeout=10)).decode()


def chat(address, port):
    connection = socket.create_connection((address, port), 10)
    with websockets.sync.client.connect("ws://ws/chat", sock=connection, proxy=None) as client:
        client.send("a message")
        return client.recv(10)


def mail(address, port):
    with smtplib.SMTP(timeout=10) as client:
        return f"{client.connect(address, port)[1].decode()}, {client.docmd('NOOP')[1].decode()}"


def echo(address, port):
    # What an old protocol's client may begin with: no line of HTTP's, no preface, no ClientHello.
    with socket.create_connection((address, port), 10) as connection:
        connection.sendall(b"SET key value\r\n\x00\xff")
        connection.shutdown(socket.SHUT_WR)
        return repr(b"".join(iter(lambda: connection.recv(65_536), b"")))


if __name__ == "__main__":
    what, address, *port = sys.argv[1:]
    if what == "serve":
        serve(address)
    print({"grpc": call, "websocket": chat, "smtp": mail, "echo": echo}[what](address, int(port[0])))
