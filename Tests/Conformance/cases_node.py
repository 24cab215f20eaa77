"""Node's own HTTP/2, as client in front and as server behind: a second implementation of what nginx, curl and nghttp show elsewhere,
and one whose client reads at its own pace. What each scenario checks stands in node_peers.mjs."""

import http.client
import pathlib
import shutil
import signal
import subprocess

from harness import PATIENCE, Daemon, Skipped, case, die_with_parent, expect

MIB = 1 << 20
SCRIPT = str(pathlib.Path(__file__).with_name("node_peers.mjs"))


class Node:
    """A process of node: what it prints is read line by line."""

    problems = ()

    def __init__(self, *arguments):
        node = shutil.which("node")
        if not node:
            raise Skipped("node is not installed")
        self.process = subprocess.Popen(
            [node, SCRIPT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=die_with_parent)

    def line(self):
        line = self.process.stdout.readline().decode().strip()
        if not line:
            self.process.kill()
            raise AssertionError(self.process.communicate()[1].decode()[-2000:])
        return line

    def expect(self, word):
        line = self.line()
        expect(line == word, f"{line!r}, not {word!r}")

    def tell(self, word):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.communicate()


class Server(Node):
    def __init__(self, version):
        super().__init__("serve", version)
        self.address = self.line()


def client(daemon, scenario):
    peer = Node(scenario, "%s:%d" % daemon.address)
    daemon.peers.append(peer)
    return peer


def pairing(sentence, scenario, versions=("http1", "http2")):
    """Node's client runs the scenario against both of node's servers."""
    for version in versions:
        def run(version=version):
            with Daemon(Server(version), protocol=version) as daemon:
                client(daemon, scenario).expect("done")

        case(f"node: {sentence} (HTTP/2 to HTTP/{1 if version == 'http1' else 2})")(run)


pairing("bodies of any size, with and without a length", "bodies")
pairing("fields, cookies and long values", "fields")
pairing("trailers both ways", "trailers")
pairing("early hints come before the answer", "hints")
pairing("400 requests at once", "many")
pairing("streams that are cancelled, break off or are answered early cost no other", "ends")
pairing("settings and pings, and a window of 1000 bytes", "session")
pairing("a server that leaves its connections all the time costs no request", "leaving", ("http2",))


def stalled(version):
    with Daemon(Server(version), protocol=version) as daemon:
        peer = client(daemon, "stalled")
        peer.expect("stalled")
        # 48 MiB were on their way at once, 8 of them to who does not read: what is held are the windows' sizes, of each stream
        # both ways and on both sides.
        daemon.expect_memory_growth_below(100 * 4 * 66 * 1024)
        peer.tell("go on")
        peer.expect("done")


def drained(version):
    with Daemon(Server(version), protocol=version) as daemon:
        peer = client(daemon, "drained")
        peer.expect("open")
        daemon.process.send_signal(signal.SIGTERM)
        peer.expect("done")
        daemon.expect_end()


for version in ("http1", "http2"):
    name = f"(HTTP/2 to HTTP/{1 if version == 'http1' else 2})"
    case(f"node: one of 100 streams that is not read stops no other {name}")(lambda version=version: stalled(version))
    case(f"node: told to go, the proxy finishes the stream that is open {name}")(lambda version=version: drained(version))


@case("node: HTTP/1 clients are served by its HTTP/2 server")
def _():
    with Daemon(Server("http2"), protocol="http2") as daemon:
        connection = http.client.HTTPConnection(*daemon.address, timeout=PATIENCE)
        daemon.peers.append(connection)

        def ask(method, path, body=None, **fields):
            connection.request(method, path, body, {"Host": "web", **fields}, encode_chunked="Transfer-Encoding" in fields)
            response = connection.getresponse()
            return response, response.read()

        body = bytes(range(256)) * 4096
        response, got = ask("POST", "/echo", body)
        expect(response.status == 200 and got == body and response.headers["x-length"] == f"{MIB}", response.headers)
        response, got = ask(
            "PUT", "/echo", (body[place:place + 9999] for place in range(0, len(body), 9999)), **{"Transfer-Encoding": "chunked"})
        expect(got == body and response.headers["x-length"] == "none", response.headers)
        response, got = ask("GET", "/fields", Cookie="a=1; b=2")
        expect(response.headers.get_all("set-cookie") == ["a=1; path=/", "b=2"], response.headers)
        expect(response.headers["x-cookie"] == "a=1; b=2", response.headers)
        response, got = ask("HEAD", "/large")
        expect(response.headers["content-length"] == f"{8 * MIB}" and got == b"", response.headers)
        response, got = ask("GET", "/large")
        expect(len(got) == 8 * MIB, len(got))
        for place in range(20):
            expect(ask("GET", f"/{place}")[1] == b"/%d" % place, "the next")
        daemon.expect_memory_growth_below(8 * MIB)
