"""The proxies under measurement: how each is started from its file under `bench/peers`, and what it is called.
The backend and the floor are built from their C files here, outside the tree."""

import os
import shutil
import subprocess

from . import system

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ALL = ["nginx", "haproxy", "envoy", "nghttpx", "floor", "fairlead"]
# The ways through a proxy, a port each, and who has them. nginx speaks HTTP/2 to a server only for gRPC.
WAYS = {
    "h1": ["nginx", "haproxy", "envoy", "floor", "fairlead"],
    "h2": ["nginx", "haproxy", "envoy", "nghttpx", "fairlead"],
    "h2h2": ["haproxy", "envoy", "nghttpx", "fairlead"],
    "grpc": ["nginx", "haproxy", "envoy", "nghttpx", "fairlead"],
    "ws": ["nginx", "haproxy", "envoy", "nghttpx", "fairlead"],
    "tcp": ["nginx", "haproxy", "envoy", "fairlead"],
}
TITLES = {"nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "nghttpx": "nghttpx", "floor": "floor (bare C)",
          "fairlead": "Fairlead"}

EXPECTED = {  # path: (status, body bytes, request body)
    "/100": (200, 100, None),
    "/16k": (200, 16384, None),
    "/post": (200, 2, "post"),
    "/chunked1m": (200, 1048576, None),
    "/bench.Echo/Call": (200, 105, "message"),
}


class Setting:
    """What every proxy of one run has in common."""

    def __init__(self, directory, fairlead):
        self.directory = directory
        self.fairlead = fairlead
        self.files = system.raise_descriptor_limit()
        self.proxy_core, self.backend_core, self.generator_core = system.cores()
        # A gRPC message: not compressed, its length in four bytes.
        self.bodies = {name: self._file(name, content) for name, content in (
            ("post", b"p" * 1024), ("message", b"\0\0\0\0\x64" + b"m" * 100))}

    def _file(self, name, content):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def build(self):
        for name, libraries in (("backend", []), ("standin", []), ("websocket", ["-lcrypto"]), ("floor", ["-luring"])):
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", os.path.join(self.directory, name),
                            os.path.join(HERE, name + ".c")] + libraries, check=True)

    def start_backend(self):
        self.backend_port, self.websocket_port = system.free_port(), system.free_port()
        self._start("backend", self.backend_port, [os.path.join(self.directory, "backend"), str(self.backend_port)])
        self._start("WebSocket backend", self.websocket_port,
                    [os.path.join(self.directory, "websocket"), "serve", str(self.websocket_port)])
        # nghttpd has no answers of its own: they are files, gRPC's with a message in front and a status behind.
        root = os.path.dirname(os.path.dirname(self._file("http2/bench.Echo/Call", b"\0\0\0\0\x64" + b"m" * 100)))
        self._file("http2/100", b"x" * 100)
        self.http2_port = system.free_port()
        self._start("HTTP/2 backend", self.http2_port,
                    ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", root, "-m", "1000", "-w", "20", "-W", "30",
                     "--trailer=grpc-status: 0", str(self.http2_port)])

    def _start(self, name, port, command):
        process = system.start(command, core=self.backend_core, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        system.wait_until_listening(port, process, name)

    def missing(self, name):
        """Why a proxy cannot be measured here, or None."""
        program = {"nginx": "nginx", "haproxy": "haproxy", "envoy": system.ENVOY, "nghttpx": "nghttpx", "floor": "cc",
                   "fairlead": self.fairlead}[name]
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        return None if shutil.which(program, path=path) else f"{program} is not there"


class Proxy:
    """One running proxy. `stop` ends it; a new instance has a new port and new processes."""

    def __init__(self, name, setting, shards=1, extra=()):
        self.name, self.setting = name, setting
        self.ports = dict(zip(WAYS, system.free_ports(len(WAYS))))
        self.port = self.ports["h2" if name == "nghttpx" else "h1"]
        self.directory = os.path.join(setting.directory, f"{name}-{self.port}")
        os.makedirs(self.directory)
        log = open(os.path.join(self.directory, "output"), "wb")
        # Two shards get two cores; that is only asked for start-up memory.
        core = setting.proxy_core if shards == 1 else None
        self.process = system.start(self._command(shards, list(extra)), core=core, stdout=log, stderr=log)
        log.close()
        try:
            system.wait_until_listening(self.port, self.process, name)
        except RuntimeError as error:
            with open(os.path.join(self.directory, "output"), errors="replace") as file:
                raise RuntimeError(f"{error}\n{file.read()[-2000:]}") from None
        self.pids = system.tree(self.process.pid)

    def _command(self, shards, extra):
        setting = self.setting
        if self.name == "floor":
            return [os.path.join(setting.directory, "floor"), "--listen", str(self.port),
                    "--to", str(setting.backend_port)] + extra
        file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml", "nghttpx": "nghttpx.conf",
                "fairlead": "fairlead.yaml"}
        path = self._fill(file[self.name], shards)
        os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        if self.name == "nginx":
            return ["nginx", "-p", self.directory, "-c", path, "-e", os.path.join(self.directory, "nginx-error.log")]
        if self.name == "haproxy":
            return ["haproxy", "-db", "-f", path]
        if self.name == "envoy":
            return [system.ENVOY, "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        if self.name == "nghttpx":
            return ["nghttpx", "--conf", path]
        return [setting.fairlead, "--config", path]

    def _fill(self, file, shards):
        setting = self.setting
        with open(os.path.join(HERE, "peers", file)) as source:
            text = source.read()
        # HAProxy keeps descriptors back for itself and needs two a connection.
        values = {"BACKEND": setting.backend_port, "HTTP2BACKEND": setting.http2_port, "WSBACKEND": setting.websocket_port,
                  "DIR": self.directory, "FILES": setting.files,
                  "MAXCONN": (setting.files - 100) // 2, "SHARDS": shards,
                  "USER": "user root;" if os.geteuid() == 0 else ""}
        values.update({way.upper(): port for way, port in self.ports.items()})
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = os.path.join(self.directory, file)
        with open(path, "w") as target:
            target.write(text)
        return path

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def validate(self, workloads):
        """One curl a path: status and body length, before anything is measured. What curl does not speak is counted by its load."""
        for way, path, host, streams in sorted({(w.way, w.path, w.host, w.streams) for w in workloads}):
            if way == "ws" or self.name not in WAYS[way]:
                continue
            status, length, body = EXPECTED[path]
            command = ["curl", "-s", "-o", "/dev/null", "-m", "10", "-w", "%{http_code} %{size_download}",
                       "--connect-to", f"::127.0.0.1:{self.ports[way]}", f"http://{host}{path}"]
            if streams:
                command += ["--http2-prior-knowledge"]
            if body:
                command += ["--data-binary", "@" + self.setting.bodies[body]]
            if way == "grpc":
                command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
            answer = subprocess.run(command, capture_output=True, text=True).stdout
            if answer != f"{status} {length}":
                raise RuntimeError(f"{self.name} answered {way} {path} with '{answer}', not '{status} {length}'")

    def stop(self):
        system.stop(self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def versions(setting, names):
    commands = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "envoy": [system.ENVOY, "--version"],
                "nghttpx": ["nghttpx", "--version"],
                "fairlead": [setting.fairlead, "--version"]}
    found = {name: system.first_line(commands[name]) for name in names if name in commands}
    found["nghttpd"] = system.first_line(["nghttpd", "--version"])
    found["h2load"] = system.first_line(["h2load", "--version"])
    found["compiler of the C parts"] = system.first_line(["cc", "--version"])
    if "envoy" in found:
        found["envoy"] = found["envoy"].split("version:")[-1].strip()
    return found
