// Decodes what entries of `routes` say of TLS connections that are carried as they are, and refuses what needs a request.

import Base
import Policy

extension Draft {
  /// `match.sni` and `match.alpn`.
  static func streamMatch(_ written: Fields, _ match: inout RouteMatch) {
    match.serverNames = written.list("sni", most: 100, "a name such as shop.local or *.shop.local", "a server's name") {
      text throws(TextError) in
      let name = try HostPattern(parsing: text)
      if name.text.contains(":") { throw TextError("clients name no address there") }
      return name
    }.map(\.value)
    match.protocols = written.list("alpn", most: 32, "a protocol such as h2", "a protocol") { text throws(TextError) in
      guard (1...255).contains(text.utf8.count), text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
        throw TextError("it has up to 255 printable characters and no blanks, such as h2 or http/1.1")
      }
      return text
    }.map(\.value)
    guard match.isForStreams else { return }
    let own = written.has("sni") ? "sni" : "alpn"
    for key in ["hosts", "path", "methods", "headers", "query"] where written.has(key) {
      written.reportValue(
        key,
        "'\(key)' is for requests, and '\(own)' for TLS connections, which are carried unread; write two routes")
    }
  }

  /// A rule for TLS connections says where they go, and nothing else.
  static func checkStreamRoute(_ fields: Fields, _ match: RouteMatch) {
    guard match.isForStreams else { return }
    for key in ["rewrite", "headers", "mirror", "fault", "timeout", "retries", "rateLimit", "redirect", "respond"]
    where fields.has(key) {
      fields.reportValue(
        key,
        "'\(key)' needs a request, and TLS connections are carried unread; beside 'sni' and 'alpn' stand to and split")
    }
    if !fields.has("to"), !fields.has("split") {
      fields.reportValue("match", "'\(fields.path)' does not say where such TLS connections go; write to: /svc/shop")
    }
  }
}
