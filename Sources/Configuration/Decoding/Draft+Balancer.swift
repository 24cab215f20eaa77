// Decodes what an entry of `services` says of its balancer.

import Base
import Policy

extension Draft {
  /// `balancer` of a mapping.
  static func balancer(_ fields: Fields) -> Configuration.Balancer {
    var balancer = Configuration.Balancer()
    let known = ["kind", "load", "decay", "hash", "tableSize", "slowStart", "aperture", "locality", "panic"]
    guard let section = fields.fields("balancer", known: known) else { return balancer }
    balancer.kind = section.choice("kind")
    balancer.load = section.choice("load")
    balancer.decay = section.duration("decay", in: .milliseconds(100) ... .seconds(3600))
    balancer.hash = hashSource(section)
    balancer.tableSize = section.integer("tableSize", in: 64...1_048_576)
    balancer.slowStart = section.duration("slowStart", in: .zero ... .seconds(86400))
    aperture(section, &balancer)
    if let locality = section.fields("locality", known: ["prefer", "spillOver"]) {
      balancer.prefer = locality.choice("prefer")
      balancer.spillOver = locality.integer("spillOver", in: 1...100)
    }
    balancer.panic = section.integer("panic", in: 0...100)
    if let kind = balancer.kind { checkBalancer(section, kind) }
    return balancer
  }

  /// What has no effect on the kind that the same entry names was meant otherwise.
  private static func checkBalancer(_ section: Fields, _ kind: BalancerKind) {
    if kind != .aperture, section.has("aperture") {
      section.reportValue("aperture", "'\(section.path).aperture' is for kind: aperture")
    }
    if kind == .aperture, section.has("locality") {
      section.reportValue(
        "locality", "'\(section.path).locality' does not apply to kind: aperture, which has a slice of its own")
    }
    for key in kind.isByKey ? ["slowStart", "locality"] : ["hash", "tableSize"] where section.has(key) {
      let reason =
        kind.isByKey
        ? "does not apply to kind: \(kind.rawValue), with which all nodes choose alike"
        : "is for kind: ring-hash and kind: maglev"
      section.reportValue(key, "'\(section.path).\(key)' \(reason)")
    }
  }

  private static func aperture(_ section: Fields, _ balancer: inout Configuration.Balancer) {
    guard let aperture = section.fields("aperture", known: ["size", "peers", "position"]) else { return }
    balancer.apertureSize = aperture.integer("size", in: 1...1_000_000)
    balancer.aperturePeers = aperture.integer("peers", in: 1...1_000_000)
    balancer.aperturePosition = aperture.integer("position", in: 0...999_999)
    guard aperture.has("peers") == aperture.has("position") else {
      let (written, missing) = aperture.has("peers") ? ("peers", "position: 0") : ("position", "peers: 10")
      aperture.reportValue(written, "'\(aperture.path).\(written)' needs '\(missing)' beside it")
      return
    }
    if let peers = balancer.aperturePeers, let position = balancer.aperturePosition, position >= peers {
      aperture.reportValue(
        "position", "'\(aperture.path).position' must be below its 'peers', \(peers), not \(position)")
    }
  }

  private static func hashSource(_ section: Fields) -> ServicePolicy.HashSource? {
    guard let hash = section.fields("hash", known: ["header", "cookie", "source"]) else { return nil }
    let written = ["header", "cookie", "source"].filter { hash.has($0) }
    guard let key = written.first, written.count == 1 else {
      section.reportValue("hash", "'\(hash.path)' needs one of header: x-user, cookie: session and source: true")
      return nil
    }
    if key == "source" {
      if hash.bool("source") == false { hash.reportValue("source", "'\(hash.path).source' can only be true") }
      return .source
    }
    guard let name = hash.text(key) else { return nil }
    guard name.utf8.count <= 128, name.utf8.allSatisfy(isTokenByte) else {
      hash.reportValue(key, "'\(hash.path).\(key)' must be a name such as x-user, not \(quoted(name))")
      return nil
    }
    return key == "header" ? .header(name.lowercased()) : .cookie(name)
  }

  /// What names of fields and cookies are made of (RFC 9110, 5.6.2).
  private static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }
}
