// The command line's shorthand: `fairleadd --listen A --to B,C` without a file.

public import Base
import Policy

extension Configuration {
  /// One listener, one static service `default`, and every request, whatever its Host, goes to it.
  ///
  /// It needs nothing of its own: `/svc => /#/static/default` says it, because a bound name is one service and the
  /// segments after it (here the host) are dropped.
  ///
  /// - Parameters:
  ///   - adminSocket: the path of the admin socket; nil for none.
  ///   - nodeName: nil for the host's name.
  public static func straight(
    listen: SocketAddress, to endpoints: [Endpoint], adminSocket: String? = Admin.defaultSocket,
    shards: Shards = .auto, nodeName: String? = nil
  ) throws(Diagnostics) -> Configuration {
    var problems = Diagnostics()
    if endpoints.isEmpty { problems.append(Diagnostic(file: "", "--to names no endpoint; write --to 127.0.0.1:9001")) }
    var seen: Set<SocketAddress> = []
    for endpoint in endpoints where !seen.insert(endpoint.address).inserted {
      problems.append(Diagnostic(file: "", "--to names \(endpoint.address) twice"))
    }
    if let adminSocket, let reason = adminSocketProblem(adminSocket) {
      problems.append(Diagnostic(file: "", "--admin-socket \(quoted(adminSocket)): \(reason)"))
    }
    if case .count(let count) = shards, !Shards.allowed.contains(count) {
      problems.append(Diagnostic(file: "", "--shards must be between 1 and 256, not \(count)"))
    }
    guard problems.isEmpty else { throw problems }
    return Configuration(
      node: Node(name: nodeName ?? hostName(), shards: shards),
      admin: Admin(socket: adminSocket),
      listeners: [Listener(name: "outbound", address: listen)],
      discovery: [
        .static(
          StaticDiscovery(prefix: "static", services: [StaticService(name: "default", endpoints: endpoints)]))
      ],
      delegations: [
        Delegation(
          DelegationEntry(
            prefix: HostIdentifier.defaultPrefix, destination: Path(unchecked: ["#", "static", "default"])))
      ])
  }

  /// Nil for a path that a Unix socket can have; relative ones are the caller's to make full.
  static func adminSocketProblem(_ path: String) -> String? {
    if path.isEmpty { return "the path is empty" }
    let longest = SocketAddress.longestPath
    if path.utf8.count > longest {
      return "the path has \(path.utf8.count) bytes; a Unix socket's has at most \(longest)"
    }
    if path.utf8.contains(0) { return "the path holds a NUL character" }
    return nil
  }
}
