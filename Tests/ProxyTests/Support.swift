// Configurations and small tools that the tests of the data plane share.

import Base
import Configuration
import EventLoop
import Policy
import TestSupport

@testable import Proxy

/// The control thread of this process's nodes.
let controlLoop: ControlLoop = {
  do {
    let loop = try ControlLoop()
    _ = BackgroundThread { loop.run() }
    return loop
  } catch {
    preconditionFailure("no control loop: \(error)")
  }
}()

/// 127.0.0.1 with a port.
func loopback(_ port: UInt16) -> SocketAddress { .v4(IPv4Address(value: 0x7F00_0001), port: port) }

func endpoint(_ port: UInt16) throws -> Endpoint { try Endpoint(loopback(port)) }

/// `/svc/web`, for names that are known to be well formed.
func path(_ text: String) throws -> Path { try Path(parsing: text) }

/// A configuration with one listener, static services (all with one endpoint) and delegations.
func configuration(
  services: [String], delegations: [(String, String)], via: Bool = true, entries: [Configuration.ServiceEntry] = []
) throws -> Configuration {
  Configuration(
    node: Configuration.Node(name: "node-a", via: via),
    listeners: [Configuration.Listener(name: "outbound", address: loopback(0))],
    discovery: [
      .static(
        Configuration.StaticDiscovery(
          prefix: "static",
          services: try services.map { Configuration.StaticService(name: $0, endpoints: [try endpoint(9001)]) }))
    ],
    delegations: try delegations.map {
      Configuration.Delegation(DelegationEntry(prefix: try path($0.0), destination: try path($0.1)))
    },
    services: entries)
}
