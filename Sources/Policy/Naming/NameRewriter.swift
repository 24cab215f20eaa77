// Names that take another name apart and put it together anew, where a pattern of whole segments is not enough: the
// delegation goes on with what comes out. They stand where discovery sources do, under `/#/rewrite/`.
//
//     /#/rewrite/hostport/<prefix>/<host:port>/rest          => /<prefix>/<host>/<port>/rest
//     /#/rewrite/porthost/<prefix>/<host:port>/rest          => /<prefix>/<port>/<host>/rest
//     /#/rewrite/domain/<prefix>/<www.example.com>/rest      => /<prefix>/com/example/www/rest
//     /#/rewrite/subdomain/<domain>/<prefix>/<a.domain>/rest => /<prefix>/<a>/rest
//
// Linkerd 1 has the same as /$/io.buoyant.hostportPfx, .porthostPfx, .http.domainToPathPfx and .http.subdomainOfPfx. Other
// than there, a host without a port is well: `hostport` gives /<prefix>/<host>, and the discovery has its default.

/// What is done with a name under `/#/rewrite/`.
public enum NameRewriter: String, CaseIterable, Sendable {
  case hostport
  case porthost
  case domain
  case subdomain

  /// The prefix that no discovery can have.
  public static let reservedPrefix = "rewrite"

  /// Whether a name is one of these, well formed or not.
  public static func isRewrite(_ path: Path) -> Bool {
    path.segments.count >= 2 && path.segments[0] == "#" && path.segments[1] == reservedPrefix
  }

  /// How many segments come before the one that is taken apart, `#` and `rewrite` among them.
  public var argumentIndex: Int { self == .subdomain ? 5 : 4 }

  /// What the name becomes; nil when it is none that can be rewritten, which is a name that does not exist.
  public static func rewrite(_ path: Path) -> Path? {
    guard isRewrite(path), path.segments.count >= 3, let rewriter = NameRewriter(rawValue: path.segments[2]),
      path.segments.count > rewriter.argumentIndex
    else { return nil }
    let argument = path.segments[rewriter.argumentIndex]
    let prefix = path.segments[rewriter.argumentIndex - 1]
    guard prefix != "#", let parts = rewriter.parts(of: argument, path) else { return nil }
    return Path(unchecked: [prefix] + parts + path.segments.dropFirst(rewriter.argumentIndex + 1))
  }

  private func parts(of argument: String, _ path: Path) -> [String]? {
    switch self {
    case .hostport:
      return Self.hostAndPort(argument).map { host, port in port.map { [host, $0] } ?? [host] }
    case .porthost:
      return Self.hostAndPort(argument).flatMap { host, port in port.map { [$0, host] } }
    case .domain:
      let labels = argument.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      return labels.contains("") ? nil : labels.reversed()
    case .subdomain:
      let domain = "." + path.segments[3].lowercased()
      let host = argument.lowercased()
      guard host.hasSuffix(domain), host.utf8.count > domain.utf8.count else { return nil }
      let label = String(host.dropLast(domain.count))
      return Path.isSegment(label) ? [label] : nil
    }
  }

  /// `host`, `host:80`, `[::1]`, `[::1]:80`.
  private static func hostAndPort(_ text: String) -> (host: String, port: String?)? {
    let end: String.Index
    if text.hasPrefix("[") {
      guard let close = text.firstIndex(of: "]") else { return nil }
      end = text.index(after: close)
    } else {
      end = text.firstIndex(of: ":") ?? text.endIndex
    }
    let host = String(text[..<end])
    guard Path.isSegment(host) else { return nil }
    if end == text.endIndex { return (host, nil) }
    let port = text[text.index(after: end)...]
    guard text[end] == ":", port.utf8.count <= 5, port.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
      let number = UInt16(port), number > 0
    else { return nil }
    return (host, String(number))
  }
}
