// A ClientHello made piece by piece, with every length field where it stands remembered, so that each can be made wrong.

/// Writes a ClientHello. `lengths` are the places of its length fields in the message, and how many bytes each has.
public struct HelloBuilder {
  public private(set) var message: [UInt8] = []
  public private(set) var lengths: [(place: Int, width: Int, what: String)] = []

  /// - Parameter extensions: nil leaves the block out.
  public init(
    version: [UInt8] = [3, 3], session: [UInt8] = [UInt8](repeating: 7, count: 32),
    suites: [UInt8] = [0x0A, 0x0A, 0x13, 0x01, 0x13, 0x02], methods: [UInt8] = [0],
    extensions: [(type: UInt16, data: Extension)]? = [(0, .names(["shop.local"])), (16, .protocols(["h2"]))]
  ) {
    message = [1]
    vector(3, "message") {
      $0.message += version + [UInt8](repeating: 0xAB, count: 32)
      $0.vector(1, "session") { $0.message += session }
      $0.vector(2, "suites") { $0.message += suites }
      $0.vector(1, "methods") { $0.message += methods }
      guard let extensions else { return }
      $0.vector(2, "extensions") {
        for (type, data) in extensions {
          $0.number16(type)
          $0.vector(2, "extension \(type)") { $0.write(data) }
        }
      }
    }
  }

  public enum Extension: Sendable {
    case raw([UInt8])
    /// Names of hosts.
    case names([String])
    case typedNames([(type: UInt8, name: [UInt8])])
    case protocols([String])
  }

  private mutating func write(_ data: Extension) {
    switch data {
    case .raw(let bytes): message += bytes
    case .names(let names): write(.typedNames(names.map { (0, Array($0.utf8)) }))
    case .typedNames(let names):
      vector(2, "names") {
        for name in names {
          $0.message.append(name.type)
          $0.vector(2, "name") { $0.message += name.name }
        }
      }
    case .protocols(let names):
      vector(2, "protocols") {
        for name in names { $0.vector(1, "protocol") { $0.message += Array(name.utf8) } }
      }
    }
  }

  private mutating func number16(_ value: UInt16) { message += [UInt8(value >> 8), UInt8(value & 0xFF)] }

  private mutating func vector(_ width: Int, _ what: String, _ body: (inout HelloBuilder) -> Void) {
    let place = message.count
    lengths.append((place, width, what))
    message += [UInt8](repeating: 0, count: width)
    body(&self)
    let count = message.count - place - width
    for index in 0..<width { message[place + index] = UInt8(truncatingIfNeeded: count >> ((width - 1 - index) * 8)) }
  }

  /// In one record.
  public var bytes: [UInt8] { Self.records([message]) }

  /// Each fragment in a record of its own.
  public static func records(_ fragments: [[UInt8]]) -> [UInt8] {
    fragments.flatMap { [22, 3, 1, UInt8($0.count >> 8), UInt8($0.count & 0xFF)] + $0 }
  }
}
