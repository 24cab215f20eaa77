"""From measurements to the page: medians with their range over the rounds, ratios to each peer, and the targets.
A ratio is taken round by round, because the two sides of one round ran next to each other, and then its median."""

import datetime
import os
import statistics

from . import load, proxies, system

TARGETS = [  # title, workload, figure, peer, bound, lower is better
    ("CPU per request / nginx", "get100c64", "cpu", "nginx", 0.80, True),
    ("CPU per request / HAProxy", "get100c64", "cpu", "haproxy", 0.70, True),
    ("CPU per request / Envoy", "get100c64", "cpu", "envoy", 0.30, True),
    ("requests/s / nginx", "get100c64", "rps", "nginx", 1.00, False),
    ("p99 at half of nginx's rate / nginx", "get100c64", "p99", "nginx", 1.00, True),
    ("HTTP/2 to HTTP/1, CPU per request / best of nghttpx, HAProxy", "h2h1", "cpu", "nghttpx haproxy", 0.90, True),
    ("HTTP/2 to HTTP/1, CPU per request / Envoy", "h2h1", "cpu", "envoy", 0.35, True),
    ("HTTP/2 to HTTP/2, CPU per request / HAProxy", "h2h2", "cpu", "haproxy", 0.90, True),
    ("HTTP/2 to HTTP/2, CPU per request / Envoy", "h2h2", "cpu", "envoy", 0.35, True),
    ("gRPC unary, CPU per request / HAProxy", "grpc", "cpu", "haproxy", 0.90, True),
    ("gRPC unary, CPU per request / Envoy", "grpc", "cpu", "envoy", 0.35, True),
    ("TCP bulk, one connection: CPU per byte / HAProxy (mode tcp)", "tcpbulk", "cpu", "haproxy", 1.00, True),
    ("TCP bulk, one connection: throughput / HAProxy (mode tcp)", "tcpbulk", "rps", "haproxy", 1.00, False),
]
IDLE_TARGET_BYTES, IDLE_HTTP2_TARGET_BYTES, START_TARGET_BYTES = 400, 8192, 20_000_000


MESH = "## Names, routes and resilience"


def write(path, figures=None, mesh=None):
    """RESULTS.md: `bench/run` writes what comes before the mesh's section, `bench/mesh` that section and nothing else."""
    before, after = "", ""
    if os.path.exists(path):
        with open(path) as file:
            before, _, after = file.read().partition(MESH)
        after = MESH + after if after else ""
    with open(path, "w") as file:
        file.write((figures or before).rstrip("\n") + "\n" + ("\n" + (mesh or after) if mesh or after else ""))


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def median(values):
    return statistics.median(values) if values else float("nan")


def describe(setting, names, chosen):
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": system.machine(), "versions": proxies.versions(setting, names), "names": names,
            "rounds": chosen.rounds, "duration": chosen.duration, "clock": system.cpu_clock_name(),
            "cores": [setting.proxy_core, setting.backend_core, setting.generator_core]}


def _range(values, form):
    low, high = form(min(values)), form(max(values))
    return f"{form(median(values))} ({low}–{high})" if low != high else low


def _figure(rounds, key, form):
    values = [each[key] for each in rounds if key in each]
    return _range(values, form) if values else "–"


def _sum(rounds, key):
    values = [each[key] for each in rounds if key in each]
    return str(sum(values)) if values else "–"


def ratios(results, key, over):
    """Fairlead's figure over a peer's, round by round; over the lowest of several."""
    columns = [results[name] for name in over.split() if results.get(name)]
    found = []
    for ours, *theirs in zip(results.get("fairlead", []), *columns):
        values = [each[key] for each in theirs if each.get(key)]
        if ours.get(key) is not None and values:
            found.append(ours[key] / min(values))
    return found


def _table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([" --- "] + [" ---: "] * (len(head) - 1)) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _two(value):
    return f"{value:.2f}"


def _whole(value):
    return f"{value:.0f}"


def _targets(data):
    names, rows = data["setting"]["names"], []
    if "fairlead" not in names:
        return ["Fairlead was not part of this run.", ""]
    for title, workload, key, peer, bound, lower in TARGETS:
        measured = data["workloads"].get(workload, {}).get("results", {})
        values = ratios(measured, key, peer)
        if not values:
            rows.append([title, ("≤ " if lower else "≥ ") + _two(bound), "not measured", ""])
            continue
        value = median(values)
        met = value <= bound if lower else value >= bound
        rows.append([title, ("≤ " if lower else "≥ ") + _two(bound), _range(values, _two), "yes" if met else "**no**"])
    idle = data["idle"].get("fairlead", [])
    if idle:
        value = median([each["idle_resident"] for each in idle])
        rows.append(["resident bytes per idle connection", f"≤ {IDLE_TARGET_BYTES}",
                     _figure(idle, "idle_resident", _whole), "yes" if value <= IDLE_TARGET_BYTES else "**no**"])
        value = median([each["idle_http2_resident"] for each in idle])
        rows.append(["resident bytes per idle HTTP/2 connection", f"≤ {IDLE_HTTP2_TARGET_BYTES}",
                     _figure(idle, "idle_http2_resident", _whole), "yes" if value <= IDLE_HTTP2_TARGET_BYTES else "**no**"])
        value = median([each["two_shards_resident"] for each in idle])
        rows.append(["resident at start-up, two shards", f"< {START_TARGET_BYTES // 1_000_000} MB",
                     f"{value / 1e6:.1f} MB", "yes" if value < START_TARGET_BYTES else "**no**"])
        errors = max(each["open_errors"] for each in idle)
        rows.append([f"errors with {idle[0]['open']} connections open", "0", str(errors), "yes" if errors == 0 else "**no**"])
    return _table(["target (GET 100 B, 64 connections, one shard, where nothing else is said)", "bound", "measured", "met"], rows) + [""]


def _workload(workload, data, instructions):
    results = data["results"]
    rate_head = f"at {data['rate']:.0f}/s" if data["rate"] else "at a rate"
    head = ["proxy", "CPU µs/request", "requests/s", "core busy", f"p50 µs {rate_head}", f"p99 µs {rate_head}",
            "CPU µs/request " + rate_head, "instructions/request", "failed", "Fairlead's CPU / its"]
    rows = []
    for name, rounds in results.items():
        own = ratios(results, "cpu", name)
        rows.append([proxies.TITLES[name], _figure(rounds, "cpu", _two), _figure(rounds, "rps", _whole),
                     f"{median([each['busy'] for each in rounds]) * 100:.0f} %", _figure(rounds, "p50", _whole),
                     _figure(rounds, "p99", _whole), _figure(rounds, "rate_cpu", _two),
                     _figure(rounds, "instructions", _whole) if instructions else "not supported here",
                     str(sum(each["failed"] for each in rounds)),
                     _range(own, _two) if own and name != "fairlead" else "–"])
    return [f"### {workload.title}", ""] + _table(head, rows) + [""]


def _idle(data):
    if not data:
        return []
    head = ["proxy", "resident B/connection", "of it anonymous", "resident at start-up", "errors, 9,000 open",
            "resident B/HTTP/2 connection", "errors"]
    rows = []
    for name, rounds in data.items():
        started = [each["start_resident"] for each in rounds if "start_resident" in each]
        rows.append([proxies.TITLES[name], _figure(rounds, "idle_resident", _whole), _figure(rounds, "idle_anonymous", _whole),
                     f"{median(started) / 1e6:.1f} MB" if started else "–", _sum(rounds, "open_errors"),
                     _figure(rounds, "idle_http2_resident", _whole), _sum(rounds, "http2_errors")])
    return ["### Idle keep-alive connections", "",
            "5,000 connections, 2,000 of HTTP/2, one request each, then silence: resident memory above start-up, shared out. nginx and "
            "Envoy set some of it aside when they start.", ""] + _table(head, rows) + [""]


def render(data):
    setting = data["setting"]
    machine, cores = setting["machine"], setting["cores"]
    lines = ["# Bench results", "",
             "Written by `make bench`; how it measures is told in [README.md](README.md). Figures are medians over the rounds, "
             "with the lowest and highest in brackets; ratios are taken round by round.", "",
             f"- Date: {setting['date']}",
             f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory']}, Linux {machine['kernel']}",
             f"- Pinned: proxy on core {cores[0]}, backend on core {cores[1]}, generator on core {cores[2]}",
             f"- Rounds: {setting['rounds']} of {setting['duration']} s, interleaved; CPU time from {setting['clock']}"]
    if setting["priority"]:
        lines += ["- All processes of the run at nice -19, so that other work on the machine disturbs less"]
    lines += [f"- {proxies.TITLES.get(name, name)}: {version}" for name, version in setting["versions"].items()]
    lines += ["", "## Targets", ""] + _targets(data) + ["## Workloads", ""]
    if cores[1] == cores[2]:
        lines += ["Generator and backend share a core here. Where a proxy's core is not near 100 % busy, they are the "
                  "bottleneck and requests/s says nothing about the proxy: CPU per request does.", ""]
    for workload in load.WORKLOADS:
        if workload.name in data["workloads"]:
            lines += _workload(workload, data["workloads"][workload.name], setting["instructions"])
    return "\n".join(lines + _idle(data["idle"])).rstrip() + "\n"
