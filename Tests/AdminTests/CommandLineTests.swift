// `fairlead`: arguments, tables, and every command against a server with a fake node behind it.

import Base
import Glibc
import Synchronization
import Telemetry
import Testing

import class TestSupport.TemporaryDirectory

@testable import Admin
@testable import AdminClient

@Suite struct CommandLineTests {
  // MARK: Arguments

  @Test(
    "options stand before or after the command",
    arguments: [
      ["--socket", "/s", "-o", "json", "endpoints", "web"], ["endpoints", "web", "--socket=/s", "-ojson"],
      ["--socket=/s", "endpoints", "--output", "json", "web"],
      ["endpoints", "--output=json", "--socket", "/s", "--", "web"],
    ])
  func optionPlaces(arguments: [String]) {
    var expected = Invocation(command: "endpoints", operands: ["web"])
    (expected.socket, expected.isJSON) = ("/s", true)
    #expect(parseArguments(arguments) == .run(expected))
  }

  @Test("a command's own options")
  func ownOptions() {
    var expected = Invocation(command: "stat", operands: ["a", "b"], options: ["--window": "2s"])
    #expect(parseArguments(["stat", "a", "--window", "2s", "b"]) == .run(expected))
    #expect(parseArguments(["--window=2s", "stat", "a", "b"]) == .run(expected))
    expected = Invocation(command: "drain", options: ["--no-wait": ""])
    #expect(parseArguments(["drain", "--no-wait"]) == .run(expected))
  }

  @Test("help and version in all their places")
  func helps() {
    #expect(parseArguments([]) == .help(nil))
    #expect(parseArguments(["--help"]) == .help(nil))
    #expect(parseArguments(["-h", "stat"]) == .help("stat"))
    #expect(parseArguments(["tap", "--help"]) == .help("tap"))
    #expect(parseArguments(["--version"]) == .run(Invocation(command: "version")))
  }

  @Test(
    "wrong usage is told with what was meant",
    arguments: [
      (["stats"], "unknown command 'stats'; did you mean 'stat'?"), (["sttus"], "did you mean 'status'?"),
      (["frobnicate"], "unknown command 'frobnicate' (fairlead help"), (["--sockt", "x"], "did you mean '--socket'?"),
      (["stat", "--windw", "2s"], "did you mean '--window'?"), (["stat", "--window"], "--window needs a value"),
      (["status", "--window", "2s"], "unknown option '--window'"), (["status", "--socket"], "--socket needs a value"),
      (["-o", "yaml", "status"], "'table' or 'json', not 'yaml'"), (["status", "x"], "'x' is one too many"),
      (["validate"], "usage: fairlead validate FILE"), (["drain", "--no-wait=1"], "--no-wait takes no value"),
      (["a\u{1B}[2J"], "unknown command 'a?[2J'"),
    ])
  func wrongUsage(arguments: [String], words: String) {
    let run = Run(arguments)
    #expect(run.code == 2)
    #expect(run.errors.contains(words), "\(run.errors)")
    #expect(run.errors.hasPrefix("fairlead: ") && run.errors.split(separator: "\n").count == 1)
    #expect(run.output.isEmpty)
  }

  @Test(
    "commands of later versions say so",
    arguments: [
      "top", "tap",
    ])
  func laterCommands(name: String) {
    let run = Run([name, "--whatever", "x"])
    #expect(run.code == 2)
    #expect(run.errors == "fairlead: '\(name)' is not available in this version (0.1.0)\n")
  }

  @Test("every command has help")
  func everyHelp() {
    for command in CommandCatalog.all {
      let run = Run(["help", command.name])
      #expect(run.code == 0 && run.output.hasPrefix("usage: fairlead \(command.name)"))
    }
    #expect(Run(["help", "stats"]).errors == "fairlead: unknown command 'stats'; did you mean 'stat'?\n")
    #expect(Run(["help"]).output.contains("  endpoints "))
    #expect(Run([]).code == 2)
  }

  // MARK: Without a daemon

  @Test("a daemon that is not there is told in one line that names the socket and how to start it")
  func notRunning() throws {
    let directory = try TemporaryDirectory()
    for command in ["status", "stat", "drain", "metrics"] {
      let run = Run(["--socket", directory.path + "/s", command])
      #expect(run.code == 1)
      #expect(run.errors.hasPrefix("fairlead: no fairleadd answers on \(directory.path)/s; start it with: "))
      #expect(run.errors.split(separator: "\n").count == 1)
    }
    let version = Run(["--socket", directory.path + "/s", "version"])
    #expect(
      version.code == 0 && version.output.hasPrefix("fairlead 0.1.0 (") && version.output.contains("no fairleadd"))
  }

  @Test("validate hands its file over and returns the exit code")
  func validate() {
    let run = Run(["validate", "/etc/x.yaml"])
    #expect(run.code == 78 && run.output == "validating /etc/x.yaml\n")
  }

  @Test("something else on the socket is recognized", arguments: ["SSH-2.0-x\r\n", "HTTP/1.1 abc\r\n\r\n", "\r\n\r\n"])
  func otherServer(answer: String) throws {
    let directory = try TemporaryDirectory()
    let socket = try AdminSocket.listen(path: directory.path + "/s", group: nil)
    defer { socket.remove() }
    let server = Worker {
      var descriptor: Int32 = -1
      waitUntil {
        descriptor = accept(socket.descriptor, nil, nil)
        return descriptor >= 0
      }
      var bytes = [UInt8](repeating: 0, count: 1024)
      _ = recv(descriptor, &bytes, bytes.count, 0)
      let text = Array(answer.utf8)
      _ = text.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, 0) }
      close(descriptor)
    }
    let run = Run(["--socket", directory.path + "/s", "status"])
    server.join()
    #expect(run.code == 1)
    #expect(run.errors.contains("is it another program's socket?"), "\(run.errors)")
  }

  // MARK: With one

  @Test("status shows the node")
  func status() throws {
    let server = try RunningServer()
    let run = Run(server, ["status"])
    #expect(run.code == 0, "\(run.errors)")
    for words in [
      "node           node-a\n", "state          ready\n", "up 1d 2h, 20.0 MiB resident",
      "configuration  /etc/fairlead/fairlead.yaml, generation 3", "access log     7 written, 0 dropped, 0 failed",
      "LISTENER  ADDRESS       DIRECTION  PROTOCOL  CONNECTIONS\noutbound  0.0.0.0:4140  outbound   http1",
      "SHARD  CPU  CONNECTIONS  REQUESTS     LAG  OVERLOAD\n    0    1           12      1000  1.50ms  no\n",
      "degraded: perf is not there\n",
    ] {
      #expect(run.output.contains(words), "\(words)\n--\n\(run.output)")
    }
    #expect(Run(server, ["-o", "json", "status"]).output.contains("\"node\": \"node-a\""))
  }

  @Test("endpoints, all or of one service")
  func endpoints() throws {
    let server = try RunningServer()
    server.node.set {
      $0.endpoints = [
        EndpointReport(
          service: "/svc/a b", address: "127.0.0.1:9001", state: "live", weight: 1, inFlight: 2, connections: 3,
          latencyNanoseconds: 1_234_567, requests: 100, failures: 1),
        EndpointReport(
          service: "/svc/web", address: "127.0.0.1:9002", state: "ejected", zone: "eu-1a", weight: 2.5,
          effectiveWeight: 0.25),
        EndpointReport(service: "/svc/web", address: "127.0.0.1:9003", state: "unhealthy"),
      ]
      $0.endpoints[2].checkFailure = "NOT_SERVING"
      $0.services = [
        ServicesReport(
          at: MonotonicInstant(nanoseconds: 1),
          services: ["/svc/a b", "/svc/web", "/svc/empty"].map { ServiceReport(name: $0, responses: []) })
      ]
    }
    #expect(
      Run(server, ["endpoints"]).output == """
        SERVICE   ENDPOINT        STATE                    ZONE      WEIGHT  INFLIGHT  CONNECTIONS  LATENCY  REQUESTS  FAILURES  SOURCE
        /svc/a b  127.0.0.1:9001  live                     -           1.00         2            3   1.24ms       100         1  -
        /svc/web  127.0.0.1:9002  ejected                  eu-1a  0.25/2.50         0            0        -         0         0  -
        /svc/web  127.0.0.1:9003  unhealthy (NOT_SERVING)  -           1.00         0            0        -         0         0  -

        """)
    let one = Run(server, ["endpoints", "/svc/a b"])
    #expect(one.output.split(separator: "\n").count == 2 && one.code == 0)
    for format in ["table", "json"] {
      let none = Run(server, ["-o", format, "endpoints", "/svc/wbe"])
      #expect(none.code == 1 && none.errors == "fairlead: no service '/svc/wbe'; did you mean '/svc/web'?\n", "\(none)")
      let empty = Run(server, ["-o", format, "endpoints", "/svc/empty"])
      #expect(empty.code == 0 && empty.errors.isEmpty, "\(empty)")
    }
  }

  @Test("connections, and how many are not shown")
  func connections() throws {
    let server = try RunningServer()
    server.node.set {
      $0.connections = (0..<3).map {
        ConnectionReport(
          shard: 0, id: UInt64($0), direction: $0 == 2 ? "upstream" : "downstream", peer: "10.0.0.1:5000",
          local: "10.0.0.2:4140", owner: "o\($0)", state: "idle", protocolName: "http1", ageSeconds: 61,
          idleSeconds: 1, requests: 5, bytesIn: 512, bytesOut: 2048)
      }
      $0.connections[0].workload = "web"
    }
    let all = Run(server, ["connections"])
    #expect(all.errors.isEmpty)
    #expect(
      all.output.contains(
        "    0   2  upstream    10.0.0.1:5000  10.0.0.2:4140  o2     -         idle   http1     1m 1s    1s         5  512 B  2.0 KiB\n"
      ),
      "\(all.output)")
    let some = Run(server, ["connections", "--limit", "2"])
    #expect(some.errors == "fairlead: 2 of 3 shown; --limit N shows more\n")
    #expect(Run(server, ["connections", "--limit", "x"]).code == 2)
  }

  @Test("workloads, with what they are matched by")
  func workloads() throws {
    let server = try RunningServer()
    server.node.set {
      $0.workloads = [
        WorkloadReport(
          name: "web", addresses: ["10.1.0.5", "10.1.1.0/24", "fd00::/8", "10.9.9.9"], users: ["www-data"],
          cgroups: ["/system.slice/web.service"], weight: 2, connections: 3, queued: 7,
          rateLimited: 5, shed: 6, responses: [0, 90, 1, 2, 1], unanswered: 4,
          bytesIn: 512, bytesOut: 2048),
        WorkloadReport(name: "other"),
      ]
    }
    #expect(
      Run(server, ["workloads"]).output == """
        WORKLOAD  WEIGHT  CONNECTIONS  QUEUED  REQUESTS  SUCCESS  REFUSED     IN      OUT  MATCHED BY
        web            2            3       7        98   98.93%       11  512 B  2.0 KiB  \
        address 10.1.0.5,10.1.1.0/24,fd00::/8 +1; user www-data; cgroup /system.slice/web.service
        other          1            0       0         0        -        0    0 B      0 B  -

        """)
    let json = Run(server, ["-o", "json", "workloads"]).output
    #expect(json.contains("\"weight\": 2") && json.contains("\"unanswered\": 4"), "\(json)")
  }

  @Test("routes in their order, with what each matches and does")
  func routes() throws {
    let server = try RunningServer()
    server.node.set {
      $0.routes = [
        RouteReport(
          name: "cart", place: "f.yaml:9:5", matches: "shop.local /cart*", does: "to /svc/cart", requests: 12,
          rateLimited: 3),
        RouteReport(name: "#1", place: "f.yaml:12:5", matches: "everything", does: "respond 404"),
      ]
    }
    #expect(
      Run(server, ["routes"]).output == """
        ROUTE  REQUESTS  REFUSED  MATCHES            DOES          WRITTEN AT
        cart         12        3  shop.local /cart*  to /svc/cart  f.yaml:9:5
        #1            0        0  everything         respond 404   f.yaml:12:5

        """)
    #expect(Run(server, ["-o", "json", "routes"]).output.contains("\"does\": \"respond 404\""))
  }

  @Test("services in figures")
  func services() throws {
    let server = try RunningServer()
    server.node.set {
      $0.services = [
        ServicesReport(
          at: MonotonicInstant(nanoseconds: 1),
          services: [
            ServiceReport(
              name: "/svc/web", responses: [0, 90, 1, 2, 3], unanswered: 4, retries: 5, inFlight: 6, liveEndpoints: 1,
              endpoints: 2)
          ])
      ]
    }
    #expect(
      Run(server, ["services"]).output == """
        SERVICE   ENDPOINTS  REQUESTS  2XX  3XX  4XX  5XX  UNANSWERED  RETRIES  INFLIGHT
        /svc/web        1/2       100   90    1    2    3           4        5         6

        """)
  }

  @Test("stat is the difference of two samples")
  func stat() throws {
    let server = try RunningServer()
    var earlier = HistogramSnapshot()
    earlier.counts[HistogramLayout.bucket(of: 1_000_000_000)] = 1000
    var later = earlier
    later.counts[HistogramLayout.bucket(of: 3_000_000)] = 98
    later.counts[HistogramLayout.bucket(of: 40_000_000)] = 2
    let samples = [
      sample(1_000_000_000, [1000, 0], earlier), sample(3_000_000_000, [1099, 1], later),
    ]
    server.node.set { $0.services = samples }
    let run = Run(server, ["stat", "--window", "100ms"])
    #expect(
      run.output == """
        SERVICE   SUCCESS   RPS     P50     P95     P99
        /svc/web   99.00%  50.0  3.01ms  3.01ms  39.8ms

        """, "\(run.output)\(run.errors)")
    // Nothing came after the second sample.
    #expect(Run(server, ["stat", "--window", "100ms"]).output.contains("/svc/web        -  0.0    -    -    -\n"))
    let missing = Run(server, ["stat", "--window", "100ms", "/svc/wab"])
    #expect(missing.code == 1 && missing.errors == "fairlead: no service '/svc/wab'; did you mean '/svc/web'?\n")
    #expect(Run(server, ["-o", "json", "stat", "--window", "100ms"]).output.contains("\"success\": null"))
  }

  @Test("a window that is none is wrong usage", arguments: ["1", "0s", "11m", "x", "-1s", "99999999999h"])
  func windows(text: String) throws {
    let server = try RunningServer()
    #expect(Run(server, ["stat", "--window", text]).code == 2)
  }

  @Test("a service that is new, and counters that started anew, count from zero")
  func restarts() {
    let earlier = answer(5_000_000_000, ["a": 1000])
    let result = rates(from: earlier, to: answer(7_000_000_000, ["a": 10, "b": 4]))
    #expect(result.map(\.requests) == [10, 4] && result.map(\.perSecond) == [5, 2])
    #expect(rates(from: earlier, to: answer(1_000_000_000, ["a": 1000])).map(\.perSecond) == [0])
  }

  @Test("metrics and configuration are passed on")
  func passedOn() throws {
    let server = try RunningServer()
    server.node.registry.counter("x_total", help: "X.").cell(shard: 0).add(5)
    #expect(Run(server, ["metrics"]).output.hasSuffix("x_total 5\n"))
    #expect(Run(server, ["metrics", "--openmetrics"]).output.hasSuffix("x_total 5\n# EOF\n"))
    #expect(Run(server, ["-o", "json", "metrics"]).output.contains("\"x\": 5"))
    #expect(Run(server, ["config"]).output == "{\"node\": {}}\n")
  }

  @Test("the log level is shown and set")
  func logging() throws {
    let server = try RunningServer()
    #expect(Run(server, ["logging"]).output == "info\n")
    #expect(Run(server, ["logging", "trace"]).output == "trace\n")
    #expect(server.node.logLevel == .trace)
    let wrong = Run(server, ["logging", "&level=info"])
    #expect(wrong.code == 1 && wrong.errors == "fairlead: level is one of error, warning, info, debug, trace\n")
    #expect(Run(server, ["-o", "json", "logging"]).output == "{\n  \"level\": \"trace\"\n}\n")
  }

  @Test("version tells both programs' versions")
  func version() throws {
    let server = try RunningServer()
    let lines = Run(server, ["version"]).output.split(separator: "\n")
    let daemon = BuildInformation(libraries: [("liburing", "2.3")]).line(program: "fairleadd")
    #expect(lines.count == 2 && lines[1] == daemon)
    #expect(Run(server, ["-o", "json", "version"]).output.contains("\"liburing\": \"2.3\""))
  }

  @Test("drain shows progress until the daemon has ended")
  func drain() throws {
    let server = try RunningServer()
    server.node.set { $0.inFlight = 2 }
    let node = server.node
    let seen = Atomic<Int>(0)
    let watcher = Worker {
      waitUntil { node.get(\.drains) == 1 && seen.load(ordering: .acquiring) == 1 }
      node.set { $0.inFlight = 1 }
      waitUntil { seen.load(ordering: .acquiring) == 2 }
      server.stop()
    }
    let run = Run(["--socket", server.path, "drain"]) { text in
      if text.hasPrefix("draining") { seen.wrappingAdd(1, ordering: .releasing) }
    }
    watcher.join()
    #expect(run.code == 0)
    #expect(
      run.output == """
        draining: 2 requests in flight, 12 connections open
        draining: 1 requests in flight, 12 connections open
        fairleadd has ended

        """)
  }

  @Test("drain does not wait when told so")
  func drainNoWait() throws {
    let server = try RunningServer()
    #expect(Run(server, ["drain", "--no-wait"]).output == "draining\n")
    #expect(server.node.get(\.drains) == 1)
  }

  // MARK: Display

  @Test(
    "durations have three figures",
    arguments: [
      (UInt64(0), "<1us"), (1_000, "1.00us"), (12_345, "12.3us"), (999_499, "999us"), (999_500, "1.00ms"),
      (123_456_789, "123ms"), (1_500_000_000, "1.50s"), (.max, "18446744074s"),
    ])
  func durations(nanoseconds: UInt64, text: String) {
    #expect(Display.duration(nanoseconds: nanoseconds) == text)
  }

  @Test("a share is rounded down, so that only all is all")
  func shares() {
    #expect(Display.share(99_999, of: 100_000) == "99.99%")
    #expect(Display.share(5, of: 5) == "100.00%")
    #expect(Display.share(0, of: 0) == "-")
    #expect(Display.fixed(-0.05, 2) == "-0.05" && Display.fixed(.infinity, 2) == "-" && Display.fixed(1.5, 0) == "2")
  }

  @Test("a table replaces control characters and keeps its columns")
  func table() {
    var table = Table([("A", .left), ("B", .right)])
    table.add(["x\u{1B}[31m\n", "1"])
    table.add(["\u{e4}\u{f6}", "1000", "too many"])
    table.add(["only"])
    #expect(table.text == "A           B\nx?[31m?     1\n\u{e4}\u{f6}       1000\nonly\n")
  }

  // MARK: Helpers

  private func sample(_ nanoseconds: UInt64, _ counts: [UInt64], _ latency: HistogramSnapshot) -> ServicesReport {
    ServicesReport(
      at: MonotonicInstant(nanoseconds: nanoseconds),
      services: [ServiceReport(name: "/svc/web", responses: [0, counts[0], 0, 0, counts[1]], latency: latency)])
  }

  private func answer(_ nanoseconds: UInt64, _ counts: KeyValuePairs<String, UInt64>) -> ServicesAnswer {
    ServicesAnswer(
      monotonicNanoseconds: nanoseconds,
      services: counts.map {
        .init(
          name: $0.key, requests: $0.value, responses: ["2xx": $0.value], unanswered: 0, retries: 0, inFlight: 0,
          liveEndpoints: 1, endpoints: 1, latency: .init(sumNanoseconds: 0, buckets: []))
      })
  }
}

/// One run of the tool, its text caught.
struct Run {
  let code: Int32
  let output: String
  let errors: String

  init(_ server: RunningServer, _ arguments: [String]) { self.init(["--socket", server.path] + arguments) }

  init(_ arguments: [String], watching: @escaping @Sendable (String) -> Void = { _ in }) {
    let caught = Caught()
    let console = Console(
      isTerminal: false,
      output: { text in
        caught.text.withLock { $0.output += text }
        watching(text)
      }, errors: { text in caught.text.withLock { $0.errors += text } })
    let tools = ConfigurationTools(
      prepareCapture: { file in .refused("refused \(file)\n", code: 78) },
      validate: { file, console in
        console.output("validating \(file)\n")
        return ExitCode.configuration
      },
      compare: { running, file in
        guard file.hasPrefix("/good") else { return .failure(.init(findings: "\(file):1:1: no\n1 error\n")) }
        let size = ConfigurationChange(path: "bytes", old: "\(running.count)", new: nil)
        return .success(file == "/good" ? [size] : [])
      }, schema: { $0 ? ".SS node\n" : "{}\n" })
    let tool = CommandLineTool(console: console, configuration: tools)
    code = tool.run(arguments)
    (output, errors) = caught.text.withLock { ($0.output, $0.errors) }
  }

  private final class Caught: Sendable {
    let text = Mutex((output: "", errors: ""))
  }
}
