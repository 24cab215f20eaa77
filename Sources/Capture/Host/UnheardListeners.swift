// Is there somebody where the rules lead? The kernel lists the listening sockets of this network namespace.

/// A listener of the configuration on whose port nobody listens.
public struct UnheardListener: Hashable, Sendable {
  public let name: String
  public let port: UInt16

  public init(name: String, port: UInt16) {
    self.name = name
    self.port = port
  }
}

extension CaptureSettings {
  /// Those that the rules lead to and that are not there (yet).
  public var unheardListeners: [UnheardListener] {
    let ports = listeningPorts(textOfFile("/proc/net/tcp")).union(listeningPorts(textOfFile("/proc/net/tcp6")))
    var unheard: [UnheardListener] = []
    for destination in destinations where !ports.contains(destination.port) {
      let listener = UnheardListener(name: destination.listener.name, port: destination.port)
      if !unheard.contains(listener) { unheard.append(listener) }
    }
    return unheard
  }

  private var destinations: [Destination] {
    AddressFamily.allCases.flatMap { family in
      [
        processes ? processDestination(family) : nil, interfaces.isEmpty ? nil : interfaceDestination(family),
        inboundPorts.isEmpty ? nil : inboundDestination(family),
      ].compactMap { $0 }
    }
  }
}

/// The ports of the sockets in state LISTEN (0A). The kernel lists these before all others.
func listeningPorts(_ text: String) -> Set<UInt16> {
  var ports: Set<UInt16> = []
  for line in text.split(separator: "\n") {
    //   0: 0100007F:102C 00000000:0000 0A 00000000:00000000 …
    let words = line.split(separator: " ", maxSplits: 4)
    guard words.count > 3, words[3] == "0A", let digits = words[1].split(separator: ":").last,
      let port = UInt16(digits, radix: 16)
    else { continue }
    ports.insert(port)
  }
  return ports
}
