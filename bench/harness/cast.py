"""Who plays in the demo: backends, daemons, and clients that count what they see. Each runs on a host of stage.py, or on the
machine itself."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time

from harness.stage import Failure, kill_group, program, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("FAIRLEAD_BIN_DIR", os.path.join(ROOT, ".build", "release"))


class Backend:
    """One nginx: a page, and a counter of the requests it handled."""

    def __init__(self, host, number, address=None):
        self.host, self.number, self.address = host, number, address
        self.child, self.counted, self.base = None, 0, 0
        self.status = host.stage.path(f"nginx-{number}.sock")

    def start(self):
        stage, name = self.host.stage, f"nginx-{self.number}"
        for _ in range(10):
            address = self.address or f"127.0.0.1:{random.randrange(20000, 32000)}"
            configuration = stage.write(name + ".conf", self.configuration(address))
            if os.path.exists(self.status):
                os.unlink(self.status)
            child = self.host.start(
                name, [program("nginx"), "-c", configuration, "-e", stage.path(name + ".err")])
            if wait_for(lambda: child.poll() is not None or self.ask() is not None, 5) and child.poll() is None:
                self.address, self.child = address, child
                return
            if child.poll() is None:
                kill_group(child)
        raise Failure(f"backend {self.number} does not start: {stage.log(name).strip()[-500:]}")

    def configuration(self, address):
        directory = self.host.stage.directory
        temporary = "\n".join(
            f"    {kind}_temp_path {directory}/{kind}-{self.number};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return f"""daemon off;
master_process off;
pid {directory}/nginx-{self.number}.pid;
error_log {directory}/nginx-{self.number}.err warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 100000000;
{temporary}
    server {{
        listen {address};
        location / {{ return 200 "hello from backend {self.number}\\n"; }}
    }}
    server {{
        listen unix:{self.status};
        location / {{ stub_status; }}
    }}
}}
"""

    def ask(self):
        """What nginx counted in this life; None when it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(self.status)
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                text = b"".join(iter(lambda: connection.recv(4096), b"")).decode("latin-1")
            return int(re.search(r"\n\s*\d+ \d+ (\d+)", text).group(1))
        except (OSError, AttributeError):
            return None

    def kill(self):
        self.requests()
        kill_group(self.child)
        self.base, self.child = self.counted, None

    def requests(self):
        """Requests handled since the demo's begin, over all its lives. While it cannot be asked the last figure stands."""
        count = self.ask() if self.child is not None else None
        if count is not None:
            self.counted = self.base + count
        return self.counted


class Fairlead:
    """fairleadd on a host, and the command line beside it."""

    def __init__(self, host, text, socket_path):
        self.host, self.text, self.socket = host, text, socket_path
        self.configuration = host.stage.write(f"{host.name}.yaml", text)
        self.child = None

    def start(self):
        daemon, log = os.path.join(BIN, "fairleadd"), f"{self.host.name}.fairleadd"
        if not os.access(daemon, os.X_OK):
            raise Failure(f"{daemon} is missing; run 'make build'")
        self.child = self.host.start(log, [daemon, "--config", self.configuration])
        if not wait_for(lambda: self.child.poll() is not None or self.is_ready(), 10) or self.child.poll() is not None:
            raise Failure("fairleadd does not start: " + self.host.stage.log(log).strip()[-2000:])

    def is_ready(self):
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(self.host.real(self.socket))
                connection.sendall(b"GET /ready HTTP/1.1\r\nHost: fairlead\r\nConnection: close\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def command(self, *arguments):
        """`fairlead …` on its host."""
        return self.host.run(os.path.join(BIN, "fairlead"), "--socket", self.socket, *arguments).rstrip()

    def port(self):
        status = json.loads(self.command("-o", "json", "status"))
        return int(status["listeners"][0]["address"].rsplit(":", 1)[1])

    def check(self):
        if self.child.poll() is not None:
            raise Failure(f"fairleadd ended with {self.child.returncode}: "
                          + self.host.stage.log(f"{self.host.name}.fairleadd").strip()[-2000:])

    def end(self):
        """SIGTERM: it finishes what is in flight, and ends with 0."""
        self.check()
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait(timeout=35) != 0:
            self.check()


class Load:
    """h2load for some seconds, and what its log says of every single request, as it is written."""

    def __init__(self, host, url, seconds, clients, user=None, options=()):
        self.stage = host.stage
        path = self.stage.write("requests.tsv", "")
        os.chmod(path, 0o666)
        self.child = host.start("h2load", [
            program("h2load"), "--h1", *options, "-D", str(seconds), "-c", str(clients), "-t", "1",
            f"--log-file={path}", url], user)
        self.stream = open(path, encoding="latin-1")
        self.rest = ""
        self.succeeded = self.failed = 0

    def read(self):
        """Counts what was logged since the last call: (succeeded, failed)."""
        lines = (self.rest + self.stream.read()).split("\n")
        self.rest = lines.pop()
        good = sum(1 for line in lines if "\t2" in line[10:20])
        self.succeeded += good
        self.failed += len(lines) - good
        return good, len(lines) - good

    def verdict(self):
        """Requests that were answered with 2xx, and all others, by h2load's own counts and by its log."""
        text = self.stage.log("h2load")
        counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if not counts or not codes:
            raise Failure("h2load printed no result: " + text[-500:])
        bad = sum(int(counts.group(index)) for index in (3, 4, 5))
        return int(codes.group(1)), max(bad, self.failed, sum(int(codes.group(index)) for index in (2, 3, 4)))


class Watch:
    """A client that goes on asking, every 100 ms on a new connection, and what became of each request."""

    PERIOD, LIMIT = 0.1, 1

    def __init__(self, host, url, node, user=None):
        self.host, self.node, self.user = host, node, user
        self.arguments = ["curl", "-sS", "--max-time", str(self.LIMIT), "-o", "/dev/null", "-D", "-", url]
        self.running, self.answers, self.next = [], [], time.monotonic()

    def turn(self):
        """Asks when it is time, and collects what has ended. To be called often."""
        now = time.monotonic()
        if now >= self.next:
            self.next = max(self.next + self.PERIOD, now)
            child = subprocess.Popen(
                self.host.wrapped(self.arguments, self.user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True)
            self.running.append((now, child))
        for entry in [entry for entry in self.running if entry[1].poll() is not None]:
            self.running.remove(entry)
            self.answers.append((entry[0], self.outcome(entry[1].communicate()[0])))

    def outcome(self, head):
        if not head.startswith("HTTP/1.1 200"):
            return "failed"
        return "captured" if re.search(rf"^via:.*\b{self.node}\b", head, re.MULTILINE | re.IGNORECASE) else "direct"

    def until(self, condition, seconds):
        """Goes on until the condition holds; says whether it did."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()
            if condition():
                return True
            time.sleep(0.01)
        return False

    def latest(self, outcome, count=3):
        """Did the last few that ended all end so?"""
        return len(self.answers) >= count and all(answer == outcome for _, answer in sorted(self.answers)[-count:])

    def since(self, begin):
        return sorted(answer for answer in self.answers if answer[0] >= begin)

    def finish(self):
        """No new request; waits for those under way."""
        self.next = float("inf")
        self.until(lambda: not self.running, self.LIMIT + 5)
