"""What the demo plays on: hosts in network namespaces, the processes on them, and the end of both, however the demo ends.

A host is a namespace named after this process, with a mount namespace of its own: it has its own /run and /etc/hosts, so that
commands can be run exactly as they are shown. A guardian in a session of its own removes all of it as soon as this process is
gone, be it by SIGKILL. Without a namespace the same programs run on the machine itself. What runs there stands in cast.py."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time


class Failure(Exception):
    """Something that keeps the demo from going on, in one line."""


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def program(name):
    path = shutil.which(name)
    if not path:
        raise Failure(f"{name} is not installed; 'bash .ci/deps demo', run as root, installs it")
    return path


def kill_group(child):
    """SIGKILL for a child and what it started: they share the session that was made for them."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait(timeout=5)


class Stage:
    """The temporary directory, the hosts, the processes on them, and their end."""

    # Waits until whoever holds the other end of its input is gone, then removes the namespaces $2… with everything in them,
    # and the directory $1.
    GUARDIAN = """
        trap '' INT TERM HUP
        cat
        directory=$1; shift
        for name; do
            for pid in $(ip netns pids "$name"); do kill -9 "$pid"; done
            ip netns del "$name"
        done
        rm -rf "$directory"
    """

    def __init__(self, hosts=()):
        self.directory = tempfile.mkdtemp(prefix="fairlead-demo-")
        os.chmod(self.directory, 0o755)
        self.children = []
        self.namespaces = {host: f"fldemo-{host}-{os.getpid()}" for host in hosts}
        guarded, self.guard = os.pipe()
        self.guardian = subprocess.Popen(
            ["sh", "-c", self.GUARDIAN, "guardian", self.directory, *self.namespaces.values()],
            stdin=guarded, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(guarded)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as stream:
            stream.write(text)
        return self.path(name)

    def start(self, name, arguments):
        # A session of its own: Ctrl-C reaches this script alone, which then ends the others in order.
        with open(self.path(name + ".log"), "ab") as log:
            child = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.children.append(child)
        return child

    def log(self, name):
        try:
            with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""

    def clear(self):
        """Ends everything: asks first, insists after five seconds. The guardian removes what is left."""
        running = [child for child in reversed(self.children) if child.poll() is None]
        for child in running:
            child.send_signal(signal.SIGTERM)
            child.send_signal(signal.SIGCONT)
        for child in running:
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                kill_group(child)
        os.close(self.guard)
        self.guardian.wait(timeout=30)


class Machine:
    """The machine this runs on, as it is."""

    name = "localhost"

    def __init__(self, stage):
        self.stage = stage

    def wrapped(self, arguments, user=None):
        """How a program is started here: to be ended by the kernel when this process ends, and as another user."""
        identity = ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
        return ["setpriv", *identity, "--pdeathsig", "KILL", *arguments]

    def start(self, name, arguments, user=None):
        return self.stage.start(name, self.wrapped(arguments, user))

    def attempt(self, arguments, user=None, seconds=30):
        return subprocess.run(
            self.wrapped(arguments, user), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
            check=False)

    def run(self, *arguments, user=None):
        """A program's output; it has to succeed."""
        result = self.attempt(arguments, user)
        if result.returncode != 0:
            raise Failure(f"{' '.join(arguments)}: {(result.stderr or result.stdout).strip()}")
        return result.stdout

    def real(self, path):
        """Where this process finds a file of the host."""
        return path


class Host(Machine):
    """A host of its own: a network namespace and a mount namespace, held by a process that sleeps."""

    def __init__(self, stage, name, names=()):
        super().__init__(stage)
        self.name, self.namespace = name, stage.namespaces[name]
        hosts = stage.write(f"{name}.hosts", "".join(f"{line}\n" for line in ("127.0.0.1 localhost", *names)))
        self.holder = None
        self.machine = Machine(stage)
        self.machine.run("ip", "netns", "add", self.namespace)
        # `ip netns exec` makes the mount namespace; what is mounted there is seen there alone.
        # Link-local addresses come by themselves some time later: without them the network's state changes by capture alone.
        script = """mount -t tmpfs none /run && mkdir /run/fairlead && mount --bind "$0" /etc/hosts && ip link set lo up &&
            echo 1 >/proc/sys/net/ipv4/ip_forward || exit 1
            echo 1 2>/dev/null >/proc/sys/net/ipv6/conf/default/addr_gen_mode
            echo ready; exec sleep infinity"""
        self.holder = self.machine.start(
            f"{name}.holder", ["ip", "netns", "exec", self.namespace, "sh", "-c", script, hosts])
        if not wait_for(lambda: "ready" in stage.log(f"{name}.holder") or self.holder.poll() is not None, 10) \
                or self.holder.poll() is not None:
            raise Failure(f"the host {name} cannot be made: {stage.log(f'{name}.holder').strip()}")

    def wrapped(self, arguments, user=None):
        inside = super().wrapped(arguments, user)
        if self.holder is None:
            return inside
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", f"--wd={self.stage.directory}", *inside]

    def real(self, path):
        return f"/proc/{self.holder.pid}/root{path}"

    def join(self, interface, other, peer, *addresses):
        """A cable from an interface here to one on another host."""
        self.machine.run("ip", "link", "add", interface, "netns", self.namespace, "type", "veth", "peer", "name", peer,
                         "netns", other.namespace)
        for address in addresses:
            self.run("ip", "addr", "add", address, "dev", interface)
        self.run("ip", "link", "set", interface, "up")
        other.run("ip", "link", "set", peer, "up")

    def network_state(self):
        """All that capture may touch, without counters and the time of day."""
        text = ""
        for command in ("iptables-save", "ip6tables-save", "ip rule", "ip -6 rule", "ip route show table all",
                        "ip -6 route show table all", "ipset list -name"):
            lines = self.attempt(command.split()).stdout.splitlines()
            kept = [re.sub(r" \[\d+:\d+\]$", "", line) for line in lines if not line.startswith("#")]
            text += f"$ {command}\n" + "".join(f"{line}\n" for line in kept)
        return text


def obstacle():
    """Why hosts of one's own cannot be made here; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for name in ("ip", "iptables", "ip6tables", "ipset", "nsenter", "redis-cli"):
        try:
            program(name)
        except Failure as failure:
            return str(failure)
    name = f"fldemo-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None if made.returncode == 0 else f"network namespaces cannot be made here: {made.stderr.strip()}"
