// Decodes `capture`.

import Base

extension Draft {
  static func capture(_ fields: Fields) -> Configuration.Capture {
    let known = [
      "processes", "interfaces", "ports", "excludePorts", "excludeAddresses", "excludeUsers", "inboundPorts", "user",
      "mark", "routingMark", "routingTable", "onFailure", "detectTimeout", "serverFirstPorts",
    ]
    let defaults = Configuration.Capture()
    guard let capture = fields.fields("capture", known: known) else { return defaults }
    let mark = capture.number32("mark") ?? defaults.mark
    let routingMark = capture.number32("routingMark") ?? defaults.routingMark
    if mark == routingMark {
      capture.reportValue(
        capture.has("routingMark") ? "routingMark" : "mark",
        "'capture.mark' and 'capture.routingMark' must differ: the one lets packets through, the other leads them here")
    }
    let serverFirst: [PortRange]? = capture.ports("serverFirstPorts")
    return Configuration.Capture(
      processes: capture.bool("processes") ?? defaults.processes,
      interfaces: capture.interfaces("interfaces"),
      ports: capture.ports("ports") ?? defaults.ports,
      excludePorts: capture.ports("excludePorts") ?? defaults.excludePorts,
      excludeAddresses: capture.networks("excludeAddresses"),
      excludeUsers: capture.users("excludeUsers"),
      inboundPorts: capture.ports("inboundPorts") ?? defaults.inboundPorts,
      user: capture.text("user").flatMap { capture.userName($0, at: "user") } ?? defaults.user,
      mark: mark, routingMark: routingMark,
      routingTable: capture.number32("routingTable") ?? defaults.routingTable,
      onFailure: capture.choice("onFailure") ?? defaults.onFailure,
      detectTimeout: capture.duration("detectTimeout", in: .milliseconds(10) ... .seconds(60))
        ?? defaults.detectTimeout,
      serverFirstPorts: serverFirst.map { $0.flatMap { Array($0.lower...$0.upper) } } ?? defaults.serverFirstPorts)
  }
}

extension Fields {
  /// At most 256 of anything here: each becomes a firewall rule that every new connection passes.
  private static let mostEntries = 256

  private func entries<T>(_ key: String, _ expectation: String, _ parse: (String, YAMLValue) -> T?) -> [T] {
    let items = items(key)
    if items.count > Self.mostEntries {
      decoder.report(items[Self.mostEntries].node.range, "'\(path).\(key)' has more than \(Self.mostEntries) entries")
    }
    return items.prefix(Self.mostEntries).compactMap { item in
      decoder.scalar(of: item, expectation).flatMap { parse($0.text, item) }
    }
  }

  fileprivate func ports(_ key: String) -> [PortRange]? {
    guard has(key) else { return nil }
    return entries(key, "a port such as 80, or a range such as 9000-9100") { text, item in
      do throws(TextError) {
        return try PortRange(parsing: text)
      } catch {
        decoder.report(item.node.range, "\(quoted(text)) is not a port: \(error.reason)")
        return nil
      }
    }
  }

  func networks(_ key: String) -> [IPNetwork] {
    entries(key, "a network such as 10.0.0.0/8") { text, item in
      do throws(TextError) {
        return try IPNetwork(parsing: text)
      } catch {
        decoder.report(item.node.range, "\(quoted(text)) is not a network: \(error.reason)")
        return nil
      }
    }
  }

  fileprivate func users(_ key: String) -> [String] {
    entries(key, "a user, by name or number") { text, item in
      if Self.isUser(text) { return text }
      decoder.report(item.node.range, "\(quoted(text)) is no name of a user")
      return nil
    }
  }

  fileprivate func userName(_ text: String, at key: String) -> String? {
    if Self.isUser(text) { return text }
    reportValue(key, "\(quoted(text)) is no name of a user")
    return nil
  }

  /// What useradd(8) takes, and numbers. No more: it becomes a word of a firewall rule.
  static func isUser(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard let first = bytes.first, bytes.count <= 32, first != 0x2D else { return false }
    return bytes.enumerated().allSatisfy { index, byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F, 0x2D, 0x2E: true
      case 0x24: index == bytes.count - 1
      default: false
      }
    }
  }

  fileprivate func interfaces(_ key: String) -> [String] {
    entries(key, "an interface such as eth0 or br-+") { text, item in
      let isName =
        (1...15).contains(text.utf8.count) && text.utf8.first != 0x2D && text != "+"
        && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !Self.notInInterfaces.contains($0) }
        && text.utf8.dropLast().allSatisfy { $0 != 0x2B }
      if isName { return text }
      decoder.report(
        item.node.range,
        "\(quoted(text)) is no name of an interface (up to 15 characters; a '+' at its end stands for any)")
      return nil
    }
  }

  /// Neither in the kernel's names nor harmless in a rule: `!`, `"`, `'`, `/`, `:`, `\`.
  private static let notInInterfaces: [UInt8] = [0x21, 0x22, 0x27, 0x2F, 0x3A, 0x5C]

  /// A mark or a table: 1 to 2^32 - 1, decimal or with 0x.
  fileprivate func number32(_ key: String) -> UInt32? {
    let expectation = "a number between 1 and 0xffffffff"
    guard let value = self[key], let scalar = decoder.scalar(of: value, expectation) else { return nil }
    let text = scalar.text
    let isHex = text.hasPrefix("0x") || text.hasPrefix("0X")
    let digits = isHex ? text.dropFirst(2) : text[...]
    let startsWell = digits.utf8.first.map { $0 != 0x2B && $0 != 0x2D } ?? false
    if startsWell, let number = UInt32(digits, radix: isHex ? 16 : 10), number > 0 { return number }
    decoder.report(value.node.range, "'\(value.path)' must be \(expectation), not \(quoted(text))")
    return nil
  }
}
