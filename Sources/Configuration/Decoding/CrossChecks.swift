// What no value says alone: names that are given twice, names that lead nowhere.

import Base

struct CrossChecks {
  let decoder: Decoder
  let draft: Draft
  /// Where findings about the whole are put.
  let file: String

  init(_ decoder: Decoder, _ draft: Draft, file: String) {
    self.decoder = decoder
    self.draft = draft
    self.file = file
  }

  func run() {
    checkListeners()
    checkAddresses()
    checkDistinct(draft.discovery.compactMap(\.prefix), "prefix")
    checkWorkloads()
    RouteChecks(decoder: decoder, draft: draft).run()
    var names = NameChecks(decoder, draft)
    names.run()
  }

  private func checkListeners() {
    if !draft.namesListeners {
      decoder.report(
        Diagnostic(
          file: file,
          "no listener, so there is nothing to do; write: listeners: [{name: outbound, address: 127.0.0.1:4140}]"))
    }
    checkDistinct(draft.listeners.compactMap(\.name), "listener name")
  }

  /// What two workloads match would always be the first one's.
  private func checkWorkloads() {
    checkDistinct(draft.workloads.compactMap(\.name), "workload name")
    checkDistinct(draft.workloads.flatMap(\.addresses), "address")
    checkDistinct(draft.workloads.flatMap(\.users), "user")
    checkDistinct(draft.workloads.flatMap(\.cgroups), "cgroup")
  }

  private func checkDistinct(_ words: [(text: String, range: SourceRange)], _ noun: String) {
    var places: [String: SourceRange] = [:]
    for word in words {
      if let first = places[word.text] {
        decoder.report(
          word.range, "the \(noun) \(quoted(word.text)) is taken; it is first written at \(first.place)")
      } else {
        places[word.text] = word.range
      }
    }
  }

  /// Two sockets cannot have one address, and `[::]` takes the IPv4 ones too.
  private func checkAddresses() {
    var taken: [(value: SocketAddress, range: SourceRange)] = []
    var addresses = draft.listeners.compactMap(\.address)
    if let http = draft.admin?.value.http, let range = draft.admin?.httpRange { addresses.append((http, range)) }
    for address in addresses {
      if let first = taken.first(where: { Self.collide($0.value, address.value) }) {
        let other = first.value == address.value ? "is taken" : "is taken by \(first.value)"
        decoder.report(
          address.range, "the address \(address.value) \(other); it is first written at \(first.range.place)")
      }
      taken.append(address)
    }
    guard let socket = draft.admin?.value.socket else { return }
    for address in addresses where address.value == .unix(path: socket) {
      decoder.report(address.range, "the address \(address.value) is taken by the admin socket")
    }
  }

  private static func collide(_ a: SocketAddress, _ b: SocketAddress) -> Bool {
    if a == b { return a.port != 0 }
    guard let port = a.port, port != 0, port == b.port else { return false }
    switch (a, b) {
    case (.v4, .v4), (.v6, .v6): return a.isUnspecified || b.isUnspecified
    case (.v6, .v4): return a.isUnspecified
    case (.v4, .v6): return b.isUnspecified
    case (.unix, _), (_, .unix): return false
    }
  }
}
