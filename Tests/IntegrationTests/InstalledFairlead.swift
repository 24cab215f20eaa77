// A host of a test's own with the real systemd and Fairlead installed: what the suites about units and packages share.

import Glibc
import TestSupport
import Testing

/// Suites with a systemd of their own carry this: where there can be none, they are skipped and say why.
let needsSystemd = ConditionTrait.enabled(
  if: FairleadProcess.isAvailable && SystemdContainer.unavailable == nil,
  Comment(rawValue: SystemdContainer.unavailable ?? FairleadProcess.unavailable))

/// A systemd with Fairlead installed by `make install`, an upstream in its network, and a configuration for it.
final class InstalledFairlead {
  let container: SystemdContainer
  let upstream: ScriptedUpstream
  let address = LoopbackAddress(port: 4140)

  init(_ script: Script = .answering, unit: String = "", install: Bool = true) throws {
    let container = try SystemdContainer()
    self.container = container
    upstream = try container.inNetwork { try ScriptedUpstream(script) }
    guard install else { return }
    try Self.make("install", into: container.path(""))
    try container.run(["systemd-sysusers"])
    try configure()
    mkdir(container.path("/run/systemd/system/fairlead.service.d"), 0o755)
    try container.write(
      "/run/systemd/system/fairlead.service.d/test.conf",
      "[Service]\nStandardOutput=append:/run/fairlead.log\nStandardError=append:/run/fairlead.log\n\(unit)\n")
    try container.systemctl("daemon-reload")
  }

  static func make(_ target: String, into root: String) throws {
    let result = try Child.run([
      "make", "-C", repositoryPath, "-s", target, "DESTDIR=\(root)", "BIN=\(FairleadProcess.binaryDirectory)",
    ])
    guard result.status == .exited(0) else { throw HarnessError("make \(target): \(result.output)\(result.error)") }
  }

  /// Writes the configuration: these listeners, and `web` served by the upstream.
  func configure(
    listeners: [String] = ["{ name: outbound, address: \"127.0.0.1:4140\" }"], shards: Int = 2,
    extra: String = ""
  ) throws {
    var lines = ["node: { name: box, shards: \(shards) }", "admin: { socket: /run/fairlead/admin.sock }"]
    lines += ["listeners:"] + listeners.map { "  - \($0)" }
    lines += ["discovery:", "  - { kind: static, prefix: static, services: { web: [\"\(upstream.address)\"] } }"]
    lines += ["delegations: |", "  /svc => /#/static ;", extra, ""]
    try container.write("/etc/fairlead/fairlead.yaml", lines.joined(separator: "\n"))
  }

  /// Runs systemctl and fails the test when that does.
  func systemctl(_ verb: String, _ unit: String = "fairlead.service") throws {
    let result = try container.systemctl(verb, unit)
    guard result.status == .exited(0) else {
      throw HarnessError("systemctl \(verb): \(result.status) \(result.error)\n\(log)")
    }
  }

  func property(_ name: String) throws -> String { try container.property(name, of: "fairlead.service") }

  var log: String { readFile(container.path("/run/fairlead.log")) }

  /// Kills the daemon and waits until it is gone: while the kernel takes it apart, it may still accept.
  func kill() throws {
    guard let process = try container.process(of: "fairlead.service") else { throw HarnessError("it does not run") }
    Glibc.kill(process, SIGKILL)
    guard eventually({ Glibc.kill(process, 0) != 0 }) else { throw HarnessError("it does not die") }
  }

  /// A connection from inside.
  func connect(_ port: UInt16 = 4140) throws -> RawClient {
    try container.inNetwork { try RawClient(LoopbackAddress(port: port), timeoutSeconds: 30) }
  }

  /// The status of a GET on a connection of its own.
  func get(_ port: UInt16 = 4140) throws -> Int {
    let client = try connect(port)
    defer { client.close() }
    return try client.get().status
  }

  /// Local addresses that somebody listens on, one entry a socket.
  func listening() throws -> [String] {
    let lines = try container.run(["ss", "-Hltn"]).output.split(separator: "\n")
    return lines.map { String($0.split(separator: " ")[3]) }.filter { $0 != upstream.address.description }.sorted()
  }

  func stop() {
    upstream.stop()
    container.stop()
  }
}
