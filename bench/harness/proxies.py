"""The proxies under measurement: how each is started from its file under `bench/peers`, and what it is called.
The backend and the floor are built from their C files here, outside the tree."""

import os
import shutil
import subprocess

from . import system

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ALL = ["nginx", "haproxy", "envoy", "floor", "fairlead"]
# Those that carry TCP as it is, without a module of their own for it.
TCP = ["haproxy", "fairlead"]
TITLES = {"nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "floor": "floor (bare C)", "fairlead": "Fairlead"}

EXPECTED = {  # path: (status, body bytes, request body?)
    "/100": (200, 100, False),
    "/16k": (200, 16384, False),
    "/post": (200, 2, True),
    "/chunked1m": (200, 1048576, False),
}


class Setting:
    """What every proxy of one run has in common."""

    def __init__(self, directory, fairlead):
        self.directory = directory
        self.fairlead = fairlead
        self.files = system.raise_descriptor_limit()
        self.proxy_core, self.backend_core, self.generator_core = system.cores()
        self.post_body = os.path.join(directory, "post-body")
        with open(self.post_body, "wb") as file:
            file.write(b"p" * 1024)

    def build(self):
        for name, libraries in (("backend", []), ("standin", []), ("floor", ["-luring"])):
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", os.path.join(self.directory, name),
                            os.path.join(HERE, name + ".c")] + libraries, check=True)

    def start_backend(self):
        self.backend_port = system.free_port()
        process = system.start([os.path.join(self.directory, "backend"), str(self.backend_port)],
                               core=self.backend_core, stdout=subprocess.DEVNULL)
        system.wait_until_listening(self.backend_port, process, "backend")
        self.backend = process

    def missing(self, name):
        """Why a proxy cannot be measured here, or None."""
        program = {"nginx": "nginx", "haproxy": "haproxy", "envoy": system.ENVOY, "floor": "cc",
                   "fairlead": self.fairlead}[name]
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        return None if shutil.which(program, path=path) else f"{program} is not there"


class Proxy:
    """One running proxy. `stop` ends it; a new instance has a new port and new processes."""

    def __init__(self, name, setting, shards=1, extra=()):
        self.name, self.setting = name, setting
        self.port, self.tcp_port = system.free_port(), system.free_port()
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
        file = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml", "fairlead": "fairlead.yaml"}
        path = self._fill(file[self.name], shards)
        os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        if self.name == "nginx":
            return ["nginx", "-p", self.directory, "-c", path, "-e", os.path.join(self.directory, "nginx-error.log")]
        if self.name == "haproxy":
            return ["haproxy", "-db", "-f", path]
        if self.name == "envoy":
            return [system.ENVOY, "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return [setting.fairlead, "--config", path]

    def _fill(self, file, shards):
        setting = self.setting
        with open(os.path.join(HERE, "peers", file)) as source:
            text = source.read()
        # HAProxy keeps descriptors back for itself and needs two a connection.
        values = {"PORT": self.port, "TCPPORT": self.tcp_port, "BACKEND": setting.backend_port, "DIR": self.directory, "FILES": setting.files,
                  "MAXCONN": (setting.files - 100) // 2, "SHARDS": shards,
                  "USER": "user root;" if os.geteuid() == 0 else ""}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = os.path.join(self.directory, file)
        with open(path, "w") as target:
            target.write(text)
        return path

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def validate(self, paths):
        """One curl a path: status and body length, before anything is measured."""
        for path in paths:
            status, length, posts = EXPECTED[path]
            command = ["curl", "-s", "-o", "/dev/null", "-m", "10", "-H", "Host: web",
                       "-w", "%{http_code} %{size_download}", self.url(path)]
            if posts:
                command += ["--data-binary", "@" + self.setting.post_body]
            answer = subprocess.run(command, capture_output=True, text=True).stdout
            if answer != f"{status} {length}":
                raise RuntimeError(f"{self.name} answered {path} with '{answer}', not '{status} {length}'")

    def stop(self):
        system.stop(self.process)


def versions(setting, names):
    commands = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "envoy": [system.ENVOY, "--version"],
                "fairlead": [setting.fairlead, "--version"]}
    found = {name: system.first_line(commands[name]) for name in names if name in commands}
    found["h2load"] = system.first_line(["h2load", "--version"])
    found["compiler of the C parts"] = system.first_line(["cc", "--version"])
    if "envoy" in found:
        found["envoy"] = found["envoy"].split("version:")[-1].strip()
    return found
