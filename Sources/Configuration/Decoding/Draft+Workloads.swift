// Decodes one entry of `workloads`.

import Base
import Policy

extension Draft {
  struct Workload {
    let name: (text: String, range: SourceRange)?
    let addresses: [(text: String, range: SourceRange)]
    let users: [(text: String, range: SourceRange)]
    let cgroups: [(text: String, range: SourceRange)]
    let value: Configuration.Workload?
  }

  static func workload(_ decoder: Decoder, _ value: YAMLValue) -> Workload {
    guard
      let fields = Fields(
        decoder, value, known: ["name", "match", "weight", "rateLimit", "connectionRate", "onFailure"])
    else {
      return Workload(name: nil, addresses: [], users: [], cgroups: [], value: nil)
    }
    fields.require("name", "name: web")
    let name = fields.text("name")
    if let name { checkName(fields, name) }
    fields.require("match", "match: { addresses: [10.1.0.0/24] }")
    let match = fields.fields("match", known: ["addresses", "users", "cgroups"])
    let addresses = match.map { parsed($0, "addresses", "a network", network) } ?? []
    let users = match.map { parsed($0, "users", "a user", user) } ?? []
    let cgroups = match.map { parsed($0, "cgroups", "a cgroup", cgroup) } ?? []
    if let match, ["addresses", "users", "cgroups"].allSatisfy({ match[$0]?.isEmptyList ?? true }) {
      match.decoder.report(
        match.range, "'\(match.path)' matches nothing; write addresses, users or cgroups, such as users: [www-data]")
    }
    let weight = fields.decimal("weight", in: Configuration.Workload.weights)
    let rateLimit = fields.rateLimit("rateLimit")
    let connectionRate = fields.rateLimit("connectionRate", counting: "connections")
    let onFailure: Configuration.Capture.OnFailure? = fields.choice("onFailure")
    return Workload(
      name: name.flatMap { text in fields["name"].map { (text, $0.node.range) } },
      addresses: addresses.map { ($0.value.description, $0.range) }, users: users.map { ($0.value, $0.range) },
      cgroups: cgroups.map { ($0.value, $0.range) },
      value: name.map {
        Configuration.Workload(
          name: $0, addresses: addresses.map(\.value), users: users.map(\.value), cgroups: cgroups.map(\.value),
          weight: weight ?? 1, rateLimit: rateLimit, connectionRate: connectionRate, onFailure: onFailure)
      })
  }

  static let mostWorkloads = 1_000
  /// Addresses, users or cgroups of one workload.
  private static let mostMatches = 1_000

  private static func checkName(_ fields: Fields, _ name: String) {
    if name == "other" {
      fields.reportValue("name", "'other' is what callers without a workload are called; take another name")
    } else if !Path.isSegment(name) || name.utf8.count > 63 {
      fields.reportValue(
        "name", "a workload's name has up to 63 letters, digits and any of -._, not \(quoted(name))")
    }
  }

  /// The items of a list that are right; reports the others.
  private static func parsed<Value>(
    _ fields: Fields, _ key: String, _ noun: String, _ parse: (String) throws(TextError) -> Value
  ) -> [(value: Value, range: SourceRange)] {
    let items = fields.items(key)
    if items.count > mostMatches {
      fields.decoder.report(
        items[mostMatches].node.range, "'\(fields.path).\(key)' has more than \(mostMatches) entries")
    }
    var values: [(value: Value, range: SourceRange)] = []
    for item in items.prefix(mostMatches) {
      guard let scalar = fields.decoder.scalar(of: item, noun) else { continue }
      do throws(TextError) {
        values.append((try parse(scalar.text), item.node.range))
      } catch {
        fields.decoder.report(item.node.range, "\(quoted(scalar.text)) is not \(noun): \(error.reason)")
      }
    }
    return values
  }

  private static func network(_ text: String) throws(TextError) -> IPNetwork { try IPNetwork(parsing: text) }

  /// Whether there is such a user is known on the host.
  private static func user(_ text: String) throws(TextError) -> String {
    if !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
      guard let number = UInt32(text), number != .max else {
        throw TextError("a user's number is between 0 and 4294967294")
      }
      return "\(number)"
    }
    guard Fields.isUser(text) else { throw TextError("write its name, such as www-data, or its number") }
    return text
  }

  /// A path from the root of the hierarchy, without an ending slash.
  private static func cgroup(_ text: String) throws(TextError) -> String {
    guard text.utf8.first == 0x2F else {
      throw TextError("write its path from the root of the hierarchy, such as /system.slice/web.service")
    }
    if text.hasPrefix("/sys/fs/cgroup/") {
      throw TextError("write the path below the mount point; did you mean \(text.dropFirst("/sys/fs/cgroup".count))?")
    }
    let isPrintable = text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
    guard isPrintable, text.utf8.count <= 4095 else { throw TextError("it is too long or holds control characters") }
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
    if parts.allSatisfy(\.isEmpty), parts.count == 1 { return "/" }
    let names = parts.last?.isEmpty == true ? parts.dropLast() : parts
    guard names.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && $0.utf8.count <= 255 }) else {
      throw TextError("the path must have no empty parts, '.' or '..'")
    }
    return "/" + names.joined(separator: "/")
  }
}
