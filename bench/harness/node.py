"""A Fairlead with a configuration of the scenario's own, and what it says of itself on its admin socket."""

import json
import os
import signal
import socket
import subprocess
import time

from . import system


class NotAvailable(Exception):
    """This version of Fairlead does not have what the scenario needs."""


class Node:
    """One running daemon. `configure` gives its configuration; `{port}` and `{directory}` are filled in."""

    def __init__(self, setting, name, configuration, shards=1):
        self.setting, self.name, self.shards = setting, name, shards
        self.port = system.free_port()
        self.ports = {way: self.port for way in ("h1", "tcp")}
        self.directory = os.path.join(setting.directory, f"{name}-{self.port}")
        os.makedirs(self.directory)
        self.file = os.path.join(self.directory, "fairlead.yaml")
        self.write(configuration)
        self._validate()
        log = open(os.path.join(self.directory, "output"), "wb")
        core = setting.proxy_core if shards == 1 else None
        self.process = system.start([setting.fairlead, "--config", self.file], core=core, stdout=log, stderr=log)
        log.close()
        system.wait_until_listening(self.port, self.process, name)
        self.pids = [self.process.pid]

    def write(self, configuration):
        """Replaces the configuration file; takes effect with the next `reload`."""
        text = (f"node: {{ name: bench, shards: {self.shards} }}\n"
                f"admin: {{ socket: {self.directory}/admin.sock }}\n"
                f"listeners: [{{ name: bench, address: \"127.0.0.1:{self.port}\", protocol: http1 }}]\n"
                + configuration.replace("{directory}", self.directory))
        with open(self.file + ".new", "w") as file:
            file.write(text)
        os.rename(self.file + ".new", self.file)

    def _validate(self):
        answer = subprocess.run([self.setting.fairlead, "--validate", self.file], capture_output=True, text=True)
        if answer.returncode == 78:
            raise NotAvailable((answer.stderr + answer.stdout).strip().splitlines()[0])
        if answer.returncode != 0:
            raise RuntimeError(f"{self.name}: --validate ended with {answer.returncode}: {answer.stderr}")

    def reload(self, seconds=20):
        """SIGHUP, and waits until the new configuration holds on every shard."""
        before = self.generation()
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + seconds
        while self.generation() == before:
            if time.monotonic() > deadline:
                raise NotAvailable("a changed configuration was not taken over: " + self.output()[-300:])
            time.sleep(0.002)
        self.get("/ready")

    def generation(self):
        return json.loads(self.get("/status")).get("snapshotGeneration")

    def output(self):
        with open(os.path.join(self.directory, "output"), errors="replace") as file:
            return file.read()

    def get(self, target):
        """The body of a GET on the admin socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(self.directory + "/admin.sock")
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: fairlead\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while True:
                more = client.recv(1 << 16)
                if not more:
                    break
                answer += more
        return answer.split(b"\r\n\r\n", 1)[1].decode()

    def status_of(self, host, path):
        """The status of one request through the proxy."""
        return subprocess.run(["curl", "-s", "-o", "/dev/null", "-m", "10", "-H", f"Host: {host}", "-w", "%{http_code}",
                               f"http://127.0.0.1:{self.port}{path}"], capture_output=True, text=True).stdout

    def stop(self):
        system.stop(self.process)
