"""What the bench asks of the machine: cores, CPU time and memory of a process tree, versions, free ports, and
processes that never outlive the run. Nothing here knows what is measured."""

import atexit
import ctypes
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "fairlead-bench")
ENVOY = os.path.join(CACHE, "venv", "bin", "envoy")

_started = []


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def raise_descriptor_limit():
    """Raises the soft limit to the hard one, here and so in every child; returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def raise_priority():
    """Lets the run, and every child, go before other work of the machine; False where that is not allowed."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -19)
        return True
    except OSError:
        return False


# Processes


def _settle():
    """In the child, before it becomes the program."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: nothing stays should the runner be killed
    # A session of its own is a scheduling group of its own (sched_autogroup), and the group's niceness is what counts.
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(os.getpriority(os.PRIO_PROCESS, 0)))
    except OSError:
        pass


def start(command, core=None, **options):
    """Starts a process pinned to `core`; it is ended by pid when the run ends, however it ends."""
    if core is not None:
        command = ["taskset", "-c", str(core)] + command
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=_settle, **options)
    _started.append(process)
    return process


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process in _started:
        _started.remove(process)


def stop_all():
    for process in list(_started):
        stop(process)


def end_everything_on_exit():
    atexit.register(stop_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))


def free_port():
    return free_ports(1)[0]


def free_ports(count):
    """So many, none of them twice."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_until_listening(port, process, name, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{name} does not listen on port {port}")


# What a process used


def tree(pid):
    """The process and its descendants (nginx's worker)."""
    found, parents = [pid], {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parents.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
            except OSError:
                continue
    for each in found:
        found.extend(parents.get(each, []))
    return found


def cpu_clock_name():
    try:
        time.clock_gettime((~os.getpid() << 3) | 2)
        return "the process CPU clock (nanoseconds, all threads)"
    except OSError:
        return "/proc/PID/stat (clock ticks)"


def cpu_seconds(pids):
    """CPU time of all threads so far. The kernel's per-process clock: what schedstat counts, up to this instant and
    with threads that ended; clock ticks where it is refused."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def memory(pids):
    """(resident, resident anonymous) bytes over the processes."""
    totals = {"VmRSS": 0, "RssAnon": 0}
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key in totals:
                    totals[key] += int(value.split()[0]) * 1024
    return totals["VmRSS"], totals["RssAnon"]


def counts_instructions():
    """Whether perf can count instructions here (many virtual machines have no counters)."""
    if not shutil.which("perf"):
        return False
    result = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u,instructions:k", "true"],
                            capture_output=True, text=True)
    lines = [line for line in result.stderr.splitlines() if "instructions" in line]
    return result.returncode == 0 and bool(lines) and all(line.split(",")[0].isdigit() for line in lines)


# Where it ran


def cores():
    """(proxy, backend, generator): the proxy alone on its core; the other two share one where there are only two."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) == 1:
        return available[0], available[0], available[0]
    if len(available) == 2:
        return available[0], available[1], available[1]
    return available[0], available[1], available[2]


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as file:
        gibibytes = int(file.readline().split()[1]) / 1048576
    virtual = "hypervisor" in open("/proc/cpuinfo").read()
    return {"cpu": model + (" (virtual machine)" if virtual else ""), "cores": os.cpu_count(),
            "memory": f"{gibibytes:.0f} GiB", "kernel": platform.release()}


def first_line(command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "not there"
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"
