// Does the host's own filter let in what the rules lead here? REDIRECT changes the port: a filter that lets port 80 in and
// drops the rest then drops what it let in before.

extension CaptureSettings {
  /// The ports that connections from other hosts and namespaces are redirected to and that INPUT drops, as far as
  /// iptables-save can tell: its policy is not to accept, and no rule of the table speaks of the port, of translated
  /// connections, or of the interface.
  func droppedPorts(_ saved: SavedTables, _ family: AddressFamily) -> [UInt16] {
    guard let filter = saved.tables.first(where: { $0.name == "filter" }),
      filter.chains.contains(where: { $0.name == "INPUT" && $0.policy == "DROP" })
    else { return [] }
    let words = Set(filter.chains.flatMap(\.rules).flatMap { $0.split(whereSeparator: { $0 == " " || $0 == "," }) })
    if words.contains("DNAT") { return [] }
    var ports: [UInt16] = []
    let knowsInterfaces = interfaces.allSatisfy { words.contains($0[...]) }
    if !knowsInterfaces, let outbound = interfaceDestination(family), outbound.listener.mode == .redirect {
      ports.append(outbound.port)
    }
    if !inboundPorts.isEmpty, let inbound = inboundDestination(family) { ports.append(inbound.port) }
    return ports.filter { !words.contains("\($0)") }
  }
}
