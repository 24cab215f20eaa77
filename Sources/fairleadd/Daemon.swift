// The daemon's life: configuration, probe, shards, admin server; signals; drain; end. All of it on the control thread.

import Admin
import Base
import CFairlead
import Configuration
import Discovery
import EventLoop
import Glibc
import HTTP
import Policy
import Proxy
import Telemetry

/// The running daemon. Lives on the control thread.
final class Daemon {
  private let node: Node
  private let loop: ControlLoop
  private let server: AdminServer
  private let administration: Administration
  private let accessLog: AccessLogWriter?
  private let hostWatch: HostWatch
  private let memoryWatch: MemoryWatch
  private let serviceManager: ServiceManager
  private let heartbeat: Heartbeat
  private let signOfLife: SignOfLife
  private let reloading: Reloading
  private var configurationWatch: ConfigurationWatch?
  /// What `systemctl status` shows while all is well, and whether it has been said.
  private var readiness = ""
  private var isAnnounced = false
  private var isDraining = false
  /// Whether the end of this daemon is the end of capturing for now.
  private var leavesCapture = true
  private var exitCode: Int32 = 0

  // MARK: Start

  static func main(_ arguments: [String]) -> Int32 {
    do throws(UsageError) {
      switch try Arguments.parse(arguments) {
      case .version:
        print(build().line(program: "fairleadd"))
        return 0
      case .help:
        print(Arguments.usage)
        return 0
      case .validate(let file): return validate(file)
      case .probe: return probe()
      case .run(let file): return run(file)
      case .straight(let listen, let to, let socket, let shards):
        let configuration = try straight(listen, to, socket, shards)
        return run("command line") { configuration }
      }
    } catch {
      say("fairleadd: \(error.message)")
      return 2
    }
  }

  private static func straight(
    _ listen: SocketAddress, _ to: [Endpoint], _ socket: String?, _ shards: Configuration.Shards
  ) throws(UsageError) -> Configuration {
    do throws(Diagnostics) {
      return try Configuration.straight(listen: listen, to: to, adminSocket: socket, shards: shards)
    } catch {
      throw UsageError(message: error.items.map(\.message).joined(separator: "; "))
    }
  }

  static func build() -> BuildInformation {
    BuildInformation(libraries: [
      ("liburing", RingProbe.liburingVersion), ("libyaml", Configuration.yamlLibraryVersion),
      ("PCRE2", Pattern.engineVersion),
      ("c-ares", DNSSource.resolverVersion), ("OpenSSL", "not linked"), ("nghttp2", HTTP2Session.nghttp2Version),
    ])
  }

  private static func validate(_ file: String) -> Int32 {
    do throws(Diagnostics) {
      let configuration = try Configuration.load(path: file, fragments: fragments(beside: file))
      print(
        "\(file): ok (\(count(configuration.listeners.count, "listener")), "
          + "\(count(configuration.discovery.reduce(0) { $0 + $1.staticServices.count }, "service")))")
      return 0
    } catch {
      say(error.render(), terminator: "")
      return exitConfiguration
    }
  }

  private static func probe() -> Int32 {
    switch RingProbe.run() {
    case .success(let found):
      for line in found.degraded { print("degraded: \(line)") }
      if found.degraded.isEmpty { print("io_uring: everything that is needed") }
      return 0
    case .failure(let refusal):
      say("fairleadd: \(refusal)")
      return 1
    }
  }

  private static func run(_ file: String) -> Int32 {
    run(file, path: file) { () throws(Diagnostics) in
      try Configuration.load(path: file, fragments: fragments(beside: file))
    }
  }

  /// `conf.d` beside the configuration file.
  static func fragments(beside file: String) -> String {
    guard let slash = file.lastIndex(of: "/") else { return "conf.d" }
    return String(file[...slash]) + "conf.d"
  }

  private static func run(
    _ source: String, path: String? = nil, load: () throws(Diagnostics) -> Configuration
  ) -> Int32 {
    let configuration: Configuration
    do throws(Diagnostics) {
      configuration = try load()
    } catch {
      say(error.render(), terminator: "")
      return exitConfiguration
    }
    let serviceManager = ServiceManager()
    fl_block_signals()
    _ = fl_raise_descriptor_limit()
    let capabilities: RingCapabilities
    switch RingProbe.run() {
    case .success(let found): capabilities = found
    case .failure(let refusal):
      say("fairleadd: \(refusal)")
      return 1
    }
    let degraded = capabilities.degraded + CaptureProbe.degraded(configuration)
    for line in degraded { say("fairleadd: degraded: \(line)") }
    do {
      let daemon = try Daemon(configuration, source: source, path: path, degraded: degraded, serviceManager)
      return daemon.serve()
    } catch {
      say("fairleadd: \(error)")
      return 1
    }
  }

  private init(
    _ configuration: Configuration, source: String, path: String?, degraded: [String], _ serviceManager: ServiceManager
  ) throws {
    self.serviceManager = serviceManager
    let shardCount: Int
    switch configuration.node.shards {
    case .auto: shardCount = min(max(Int(fl_allowed_cpus(nil, 0)), 1), 256)
    case .count(let count): shardCount = count
    }
    let registry = Registry(shardCount: shardCount, maxSeries: configuration.telemetry.maxSeries)
    let names = NameTable()
    let rings = configuration.telemetry.accessLog == nil ? [] : (0..<shardCount).map { _ in AccessRing() }
    loop = try ControlLoop()
    let accessLog = try configuration.telemetry.accessLog.map {
      try AccessLogWriter.start(
        path: $0.path, format: $0.format == .json ? .json : .text, rings: rings, names: names)
    }
    self.accessLog = accessLog
    // The admin socket first: its error is the one that says "another fairleadd is running".
    let administration = Administration(
      configuration: configuration, source: source, degraded: degraded, accessLog: accessLog)
    self.administration = administration
    server = AdminServer(
      loop: loop, node: administration, operatorsGroup: configuration.admin.operators ?? "operators")
    if let path = configuration.admin.socket {
      try server.listen(unixSocket: path, group: configuration.admin.group)
    }
    if let address = configuration.admin.http { try server.listen(readOnly: address) }
    do {
      node = try Node.start(
        configuration, shardCount: shardCount, registry: registry, names: names, accessRings: rings,
        loop: loop, keeper: serviceManager, log: { Self.say("fairleadd: \($0)") })
    } catch {
      server.stop()
      throw error
    }
    if let accessLog { node.onAccessLogHalfFull { accessLog.wake() } }
    administration.attach(node, registry: registry)
    for line in node.workloadProblems() { Self.say("fairleadd: degraded: \(line)") }
    reloading = Reloading(path: path, node: node, loop: loop) { Self.say("fairleadd: \($0)") }
    hostWatch = HostWatch(node, loop)
    node.onNewWorkloads = { [weak node, hostWatch] in
      hostWatch.follow()
      for line in node?.workloadProblems() ?? [] { Self.say("fairleadd: degraded: \(line)") }
    }
    memoryWatch = MemoryWatch(node, loop)
    heartbeat = Heartbeat(loop: loop, ping: { [node] reply in node.ping(reply) })
    let missed = ProxyMetrics(registry: registry).heartbeatMissed.cell(shard: registry.controlShard)
    heartbeat.onMissed = { missed.add(1) }
    signOfLife = SignOfLife(
      captures: configuration.listeners.contains { $0.capture != .none }, registry: registry
    ) { line in
      Self.say("fairleadd: degraded: \(line)")
      administration.addDegraded(line)
    }
  }

  // MARK: Run

  private func serve() -> Int32 {
    let signals = fl_signalfd()
    loop.watch(signals, events: Int16(POLLIN)) { [self] _ in
      while let signal = Self.nextSignal(signals) { handle(signal) }
    }
    let loop = self.loop
    // Who drains by the admin socket wants it to end; systemd's SIGTERM may be a restart.
    administration.onDrain { [self] in drain("asked to by the admin socket", forGood: true) }
    administration.onShutdown { [self] in end("asked to by the admin socket", code: 0) }
    administration.onReload(reloading) { [self] in reload("asked to by the admin socket", confirmWithin: $0) }
    watchConfiguration()
    for (listener, address) in zip(node.configuration.listeners, node.listenerAddresses) {
      Self.say("fairleadd: listener '\(listener.name)' on \(address)")
    }
    for note in node.listenerNotes { Self.say("fairleadd: \(note)") }
    let summary =
      "\(Self.count(node.shardCount, "shard")), "
      + "\(Self.count(node.serviceCount, "service"))"
      + (node.configuration.admin.socket.map { ", admin socket \($0)" } ?? "")
    Self.say("fairleadd: \(administration.build.version) ready: \(summary)")
    readiness = "serving: \(summary)"
    heartbeat.onAllShardsTurned { [self] in allShardsTurned() }
    heartbeat.start()
    loop.run()
    if leavesCapture { signOfLife.end() }
    server.stop()
    node.stop()
    accessLog?.stop()
    return exitCode
  }

  /// From the first time on we are ready; each time the kernel and the watchdog hear of it.
  private func allShardsTurned() {
    signOfLife.give()
    if !isAnnounced {
      isAnnounced = true
      if !isDraining { serviceManager.ready(readiness) }
    }
    serviceManager.allShardsTurned()
  }

  private static func nextSignal(_ descriptor: Int32) -> Int32? {
    let signal = fl_read_signal(descriptor)
    return signal > 0 ? signal : nil
  }

  private func handle(_ signal: Int32) {
    switch signal {
    case SIGTERM, SIGINT:
      if isDraining {
        end("a second signal", code: 0)
      } else {
        drain(signal == SIGTERM ? "SIGTERM" : "SIGINT")
      }
    case SIGHUP: _ = reload("SIGHUP")
    case SIGUSR1: accessLog?.reopen()
    default: break
    }
  }

  // MARK: Reload

  /// Takes over what the files say, and tells the service manager what came of it.
  private func reload(_ why: String, isAutomatic: Bool = false, confirmWithin limit: Duration? = nil) -> ReloadOutcome {
    serviceManager.reloading("reloading")
    let outcome = reloading.reload(why: why, isAutomatic: isAutomatic, confirmWithin: limit)
    switch outcome {
    case .unchanged, .published: serviceManager.ready(readiness)
    case .refused: serviceManager.ready("\(readiness); the last reload was refused, see the journal")
    }
    return outcome
  }

  /// A change of the files is as good as being asked, unless the configuration that runs says otherwise.
  private func watchConfiguration() {
    guard let path = reloading.path else { return }
    configurationWatch = ConfigurationWatch(path: path, loop: loop) { [unowned self] in
      guard node.configuration.node.reloadOnChange, !isDraining else { return }
      _ = reload("its files have changed", isAutomatic: true)
    }
    guard configurationWatch == nil else { return }
    let line = "changes of \(path) are not noticed: \(String(cString: strerror(errno))); use fairlead reload"
    Self.say("fairleadd: degraded: \(line)")
    administration.addDegraded(line)
  }

  // MARK: End

  /// Not ready, no new connections, what is in progress ends, then so do we; after the drain timeout at any rate.
  ///
  /// - Parameter forGood: no daemon comes after this one: the listening sockets are given up, not left to it.
  private func drain(_ why: String, forGood: Bool = false) {
    if isDraining { return }
    isDraining = true
    administration.setDraining()
    Self.say("fairleadd: draining (\(why)): \(Self.count(node.downstreamConnectionCount, "connection")) open")
    // With bypass, new connections go direct from now on. With refuse they would be reset: those wait in the kept sockets for
    // the daemon that comes next.
    leavesCapture = forGood || !serviceManager.keepsSockets || node.configuration.capture.onFailure == .bypass
    if leavesCapture { signOfLife.end() }
    node.drain(forGood: forGood)
    if forGood { serviceManager.forgetAll() }
    let limit = node.configuration.node.drainTimeout.components
    let nanoseconds =
      UInt64(max(limit.seconds, 0)) &* 1_000_000_000 &+ UInt64(max(limit.attoseconds, 0)) / 1_000_000_000
    serviceManager.stopping("draining (\(why))", withinNanoseconds: nanoseconds &+ Self.endNanoseconds)
    lookWhetherDrained(until: MonotonicInstant.now().advanced(byNanoseconds: nanoseconds))
  }

  private func lookWhetherDrained(until limit: MonotonicInstant) {
    let open = node.downstreamConnectionCount
    if open == 0 {
      end("drained", code: 0)
    } else if MonotonicInstant.now() >= limit {
      end("\(Self.count(open, "connection")) left after the drain timeout", code: 0)
    } else {
      let next = MonotonicInstant.now().advanced(byNanoseconds: 20_000_000)
      loop.schedule(at: next) { [self] in lookWhetherDrained(until: limit) }
    }
  }

  private func end(_ why: String, code: Int32) {
    Self.say("fairleadd: ending (\(why))")
    exitCode = code
    loop.stop()
  }

  // MARK: Small things

  /// To standard error, in one write: lines of several threads and processes do not mix.
  static func say(_ line: String, terminator: String = "\n") {
    var text = line + terminator
    text.withUTF8 { bytes in _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
  }

  static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

  /// What ending takes at most when the drain is over.
  private static let endNanoseconds: UInt64 = 5_000_000_000

  /// EX_CONFIG of sysexits.h.
  static let exitConfiguration: Int32 = 78
}
