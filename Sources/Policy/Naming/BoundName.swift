// The name of a service as discovery knows it: where a delegation ends, and what endpoints are kept under.

/// `/#/<prefix>/<name…>`: a source's prefix and at least one segment of its own.
public struct BoundName: Hashable, Sendable, CustomStringConvertible {
  public let path: Path

  /// Nil where the path is none.
  public init?(_ path: Path) {
    guard path.segments.count >= 3, path.isBound else { return nil }
    self.path = path
  }

  /// The name of a source's service; both must be segments.
  public init(prefix: String, service: String) {
    path = Path(unchecked: ["#", prefix, service])
  }

  /// Which source knows it.
  public var prefix: String { path.segments[1] }

  /// What it is called there: `web`, `web.example/8080`.
  public var name: String { path.segments.dropFirst(2).joined(separator: "/") }

  /// This many of its segments, the `#` and the prefix counted; at least three stay, at most all.
  public func prefix(segments count: Int) -> BoundName {
    BoundName(cut: Path(unchecked: Array(path.segments.prefix(max(count, 3)))))
  }

  private init(cut path: Path) { self.path = path }

  public var description: String { path.description }
}
