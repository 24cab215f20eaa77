// The configuration compiled into what shards work with. Immutable; made on the control thread and published to every
// shard, which builds its own tables from it (`ShardServices`).

import Base
import CFairlead
import Capture
import Configuration
import Glibc
import Policy
import Synchronization

/// Counts against a limit, shared by all shards: one uncontended atomic addition each way.
struct LimitCell: ~Copyable {
  private let count = Atomic<Int>(0)

  /// Adds one unless `limit` is reached.
  func tryAdd(limit: Int) -> Bool {
    if count.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
    count.wrappingSubtract(1, ordering: .relaxed)
    return false
  }

  func add() { count.wrappingAdd(1, ordering: .relaxed) }
  func subtract() { count.wrappingSubtract(1, ordering: .relaxed) }
  var value: Int { count.load(ordering: .relaxed) }
}

/// What is judged for a service as a whole, not per shard.
struct SharedService: ~Copyable {
  let requests = LimitCell()
  let connections = LimitCell()
  let pending = LimitCell()
}

/// A service as every shard sees it.
final class ServiceDefinition: @unchecked Sendable {
  /// The bound name, `/#/static/web`.
  let boundName: String
  /// Its last segment, for labels and tables.
  let name: String
  let policy: ServicePolicy
  /// None of `(original)`, whose endpoints are what clients connect to.
  let endpoints: [Endpoint]
  /// Freed with the definition.
  let shared: UnsafeMutablePointer<SharedService>
  /// One socket address an endpoint, stable in memory while connects are in flight.
  let addresses: UnsafeMutablePointer<EndpointSocketAddress>

  init(boundName: String, name: String, policy: ServicePolicy, endpoints: [Endpoint]) {
    self.boundName = boundName
    self.name = name
    self.policy = policy
    self.endpoints = endpoints
    shared = .allocate(capacity: 1)
    shared.initialize(to: SharedService())
    addresses = .allocate(capacity: max(endpoints.count, 1))
    for (index, endpoint) in endpoints.enumerated() {
      (addresses + index).initialize(to: EndpointSocketAddress(endpoint.address))
    }
  }

  deinit {
    shared.deinitialize(count: 1)
    shared.deallocate()
    addresses.deallocate()
  }
}

/// An endpoint's address as the kernel takes it.
struct EndpointSocketAddress {
  var storage = sockaddr_storage()
  var length: socklen_t = 0
  var family: Int32 = 0
  var peer = PeerAddress()

  init(_ address: SocketAddress) {
    address.withSockaddr { pointer, count in
      length = count
      family = Int32(pointer.pointee.sa_family)
      withUnsafeMutableBytes(of: &storage) { target in
        target.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: min(Int(count), target.count)))
      }
    }
    peer = PeerAddress(storage)
  }

  /// IPv4 where the address is one that was mapped.
  init(_ peer: PeerAddress) {
    self.init(peer.socketAddress ?? .v4(.unspecified, port: 0))
  }

  /// Whether it is an address of this host.
  var isLocal: Bool { withSockaddr { fl_is_local_address($0, length) != 0 } }

  /// Binds a socket to it. False when the kernel refuses.
  func bind(_ descriptor: Int32) -> Bool { withSockaddr { Glibc.bind(descriptor, $0, length) == 0 } }

  private func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
    withUnsafePointer(to: storage) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1, body) }
  }
}

extension PeerAddress {
  /// IPv4 is mapped into IPv6; other families have no address.
  init(_ storage: sockaddr_storage) {
    self.init()
    withUnsafeBytes(of: storage) { bytes in
      switch Int32(storage.ss_family) {
      case AF_INET:
        let v4 = bytes.loadUnaligned(as: sockaddr_in.self)
        low = 0xFFFF_0000_0000 | UInt64(UInt32(bigEndian: v4.sin_addr.s_addr))
        port = UInt16(bigEndian: v4.sin_port)
      case AF_INET6:
        let v6 = bytes.loadUnaligned(as: sockaddr_in6.self)
        withUnsafeBytes(of: v6.sin6_addr) { address in
          high = UInt64(bigEndian: address.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
          low = UInt64(bigEndian: address.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
        port = UInt16(bigEndian: v6.sin6_port)
      default:
        break
      }
    }
  }
}

/// What a host name leads to.
enum Resolution {
  case service(UInt32)
  case failed(ProxyError)
}

/// A compiled configuration.
final class Snapshot: Sendable {
  let generation: UInt64
  let configuration: Configuration
  let services: [ServiceDefinition]
  let delegation: Delegation
  private let identifier = HostIdentifier()
  /// `via` is added and counted.
  let sendsVia: Bool
  /// The node's name, as `via` carries it.
  let viaPseudonym: [UInt8]
  /// `via: 1.1 <node>\r\n`, or nothing.
  let viaLine: [UInt8]
  /// The service of original destinations, where a listener captures.
  let originalService: UInt32?
  /// Who may be calling, and which of it cannot be matched on this host.
  let workloads: WorkloadTable
  let workloadProblems: [String]
  private let serviceByBoundName: [String: UInt32]

  init(_ configuration: Configuration, generation: UInt64) {
    self.generation = generation
    self.configuration = configuration
    (workloads, workloadProblems) = WorkloadTable.compiled(configuration.workloads)
    delegation = Delegation(entries: configuration.delegations.map(\.entry))
    sendsVia = configuration.node.via
    viaPseudonym = Array(configuration.node.name.utf8)
    viaLine = configuration.node.via ? Array("via: 1.1 \(configuration.node.name)\r\n".utf8) : []
    var services: [ServiceDefinition] = []
    var byName: [String: UInt32] = [:]
    for discovery in configuration.discovery {
      for service in discovery.services {
        let boundName = "/#/\(discovery.prefix)/\(service.name)"
        byName[boundName] = UInt32(services.count)
        services.append(
          ServiceDefinition(
            boundName: boundName, name: service.name,
            policy: configuration.policy(forServiceName: "/svc/\(service.name)"), endpoints: service.endpoints))
      }
    }
    let captures = configuration.listeners.contains { $0.capture != .none }
    originalService = captures ? UInt32(services.count) : nil
    if captures { services.append(Self.original(configuration)) }
    self.services = services
    serviceByBoundName = byName
  }

  /// Whatever clients connect to has the timeouts of `/svc`, and no limit of its own but the node's: it is many services.
  private static func original(_ configuration: Configuration) -> ServiceDefinition {
    var policy = configuration.policy(forServiceName: "/svc")
    policy.limits.connections = configuration.limits.connections
    policy.limits.requests = configuration.limits.connections
    return ServiceDefinition(boundName: "/#/original", name: "(original)", policy: policy, endpoints: [])
  }

  /// What a configured logical name leads to.
  func resolve(_ logical: Path) -> Resolution { bind(logical, otherwise: .unknownName) }

  /// The way of a name that is not in a shard's cache. It allocates; names that repeat come from the cache.
  ///
  /// A request without a host, or with one that cannot be a name, is for `/svc` alone: a table that sends all of `/svc` to
  /// one service serves it, any other does not know it.
  func resolve(host: UnsafeRawBufferPointer) -> Resolution {
    do throws(HostRefusal) {
      return bind(try identifier.identify(host), otherwise: .unknownName)
    } catch {
      return bind(identifier.prefix, otherwise: host.isEmpty ? .noHost : .badName)
    }
  }

  private func bind(_ logical: Path, otherwise error: ProxyError) -> Resolution {
    switch delegation.bind(logical, exists: { service(bound: $0) != nil }) {
    case .bound(let path): service(bound: path).map { .service($0) } ?? .failed(error)
    case .negative: .failed(error)
    case .failed: .failed(.delegationFailed)
    }
  }

  /// A bound name is one service; the segments after it are dropped.
  private func service(bound path: Path) -> UInt32? {
    guard path.segments.count >= 3 else { return nil }
    return serviceByBoundName["/" + path.segments[0..<3].joined(separator: "/")]
  }
}
