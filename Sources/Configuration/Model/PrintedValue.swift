// A configuration as it is printed, taken apart again: values, lists and mappings, for those who compare.
//
// It reads what our own JSONWriter has written, and nothing else: no other input comes here, and anything unexpected is nil.

import Base

/// One value of a printed configuration.
enum PrintedValue: Hashable {
  struct Member: Hashable {
    let name: String
    let value: PrintedValue
  }

  case text(String)
  /// A number, a truth, or null.
  case word(String)
  case list([PrintedValue])
  case mapping([Member])

  init?(of configuration: Configuration) {
    self.init { configuration.write(to: &$0) }
  }

  init?(of entry: Configuration.ServiceEntry) {
    self.init { json in json.object { entry.write(to: &$0) } }
  }

  init?(of retries: Configuration.Retries) {
    self.init { json in json.object { retries.write(to: &$0) } }
  }

  private init?(_ write: (inout JSONWriter) -> Void) {
    var json = JSONWriter(reserving: 64 << 10)
    write(&json)
    var reader = Reader(bytes: json.bytes)
    guard let value = reader.value() else { return nil }
    self = value
  }

  /// Everything in it that is no mapping, with its path.
  var leaves: [(path: String, value: PrintedValue)] {
    guard case .mapping(let members) = self else { return [("", self)] }
    return members.flatMap { member in
      member.value.leaves.map { ($0.path.isEmpty ? member.name : "\(member.name).\($0.path)", $0.value) }
    }
  }

  /// Is it neither a list nor a mapping?
  var isSingle: Bool {
    switch self {
    case .text, .word: true
    case .list, .mapping: false
    }
  }

  /// On one line, as flow style has it, without quotes around texts that need none.
  var shown: String {
    switch self {
    case .text(let text): text
    case .word(let word): word
    case .list(let items): "[" + items.map(\.shown).joined(separator: ", ") + "]"
    case .mapping(let members): "{" + members.map { "\($0.name): \($0.value.shown)" }.joined(separator: ", ") + "}"
    }
  }
}

private struct Reader {
  let bytes: [UInt8]
  var place = 0

  mutating func value() -> PrintedValue? {
    guard place < bytes.count else { return nil }
    switch bytes[place] {
    case UInt8(ascii: "{"): return mapping()
    case UInt8(ascii: "["): return list()
    case UInt8(ascii: "\""): return text().map(PrintedValue.text)
    default:
      let word = bytes[place...].prefix {
        $0 != UInt8(ascii: ",") && $0 != UInt8(ascii: "]") && $0 != UInt8(ascii: "}")
      }
      place += word.count
      return .word(String(decoding: word, as: UTF8.self))
    }
  }

  private mutating func take(_ byte: Unicode.Scalar) -> Bool {
    guard place < bytes.count, bytes[place] == UInt8(ascii: byte) else { return false }
    place += 1
    return true
  }

  private mutating func mapping() -> PrintedValue? {
    var members: [PrintedValue.Member] = []
    place += 1
    if take("}") { return .mapping([]) }
    repeat {
      guard let name = text(), take(":"), let value = value() else { return nil }
      members.append(PrintedValue.Member(name: name, value: value))
    } while take(",")
    return take("}") ? .mapping(members) : nil
  }

  private mutating func list() -> PrintedValue? {
    var items: [PrintedValue] = []
    place += 1
    if take("]") { return .list([]) }
    repeat {
      guard let value = value() else { return nil }
      items.append(value)
    } while take(",")
    return take("]") ? .list(items) : nil
  }

  private mutating func text() -> String? {
    guard take("\"") else { return nil }
    var decoded: [UInt8] = []
    while place < bytes.count {
      let byte = bytes[place]
      place += 1
      if byte == UInt8(ascii: "\"") { return String(decoding: decoded, as: UTF8.self) }
      guard byte == UInt8(ascii: "\\") else {
        decoded.append(byte)
        continue
      }
      guard let scalar = escaped() else { return nil }
      decoded.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }
    return nil
  }

  /// What stands after a backslash.
  private mutating func escaped() -> Unicode.Scalar? {
    guard place < bytes.count else { return nil }
    let letter = bytes[place]
    place += 1
    switch letter {
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "u"):
      guard place + 4 <= bytes.count else { return nil }
      let digits = String(decoding: bytes[place..<(place + 4)], as: UTF8.self)
      place += 4
      return UInt32(digits, radix: 16).flatMap(Unicode.Scalar.init)
    default: return Unicode.Scalar(letter)
    }
  }
}
