// `kind: static`: what the configuration itself says. It knows everything at once and never changes; a new configuration
// brings a new source.

public import Base
public import Policy

/// Services that are written down. A name is a service by its first segment.
public final class StaticSource: DiscoverySource {
  public let prefix: String
  /// Never told anything: nothing here changes.
  public weak var delegate: (any DiscoveryDelegate)?
  private let services: [String: [Endpoint]]
  private let created: MonotonicInstant

  /// - Parameters:
  ///   - services: by the one segment that names them.
  ///   - now: when they were written down.
  public init(prefix: String, services: [String: [Endpoint]], now: MonotonicInstant) {
    self.prefix = prefix
    self.services = services
    created = now
  }

  public func start() {}

  public func lookup(_ name: BoundName) -> Lookup {
    let service = name.prefix(segments: 3)
    return known(service) == nil ? .negative(until: nil) : .service(service)
  }

  public func endpoints(of service: BoundName) -> [Endpoint] { known(service) ?? [] }

  public func release(_ service: BoundName) {}

  public func report() -> SourceReport {
    var report = SourceReport(kind: "static", prefix: prefix, freshness: Freshness(confirmed: created))
    report.services = services.count
    report.endpoints = services.values.reduce(0) { $0 + $1.count }
    return report
  }

  public func freshness(of service: BoundName) -> Freshness? {
    known(service).map { _ in Freshness(confirmed: created) }
  }

  public func stop() {}

  private func known(_ service: BoundName) -> [Endpoint]? {
    service.prefix == prefix && service.path.segments.count == 3 ? services[service.name] : nil
  }
}
