// Writes JSON (RFC 8259) into a byte array, value by value, without building a tree first.
//
// Why our own: the admin API and the access log need correct escaping and nothing else, and Foundation stays out of the
// lower floors. Reading JSON is left to others (a configuration in JSON is read as YAML, which contains it).

/// A streaming JSON writer: calls come in document order, commas, colons and indentation are put in by the writer.
///
///     var json = JSONWriter()
///     json.object {
///       $0.member("name", "web")
///       $0.array("endpoints") { $0.string("127.0.0.1:9001") }
///     }
///     json.text  // {"name":"web","endpoints":["127.0.0.1:9001"]}
///
/// The caller keeps the order right (a key, then its value); a value type, to be used by one thread at a time.
public struct JSONWriter: Sendable {
  /// What was written so far: UTF-8.
  public private(set) var bytes: [UInt8] = []
  /// One entry for each object or array that is open: has it a member yet?
  private var hasMembers: [Bool] = []
  private var afterKey = false
  private let indented: Bool

  /// - Parameter indented: two spaces a level and one member a line, for people; otherwise no white space at all.
  public init(indented: Bool = false, reserving capacity: Int = 256) {
    self.indented = indented
    bytes.reserveCapacity(capacity)
  }

  /// What was written so far.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Forgets what was written and keeps the memory: for one document (or one log line) after the other.
  public mutating func reset() {
    bytes.removeAll(keepingCapacity: true)
    hasMembers.removeAll(keepingCapacity: true)
    afterKey = false
  }

  /// Ends a document of a newline-delimited stream.
  public mutating func newline() { bytes.append(0x0A) }
}

// MARK: Containers

extension JSONWriter {
  public mutating func beginObject() { open(0x7B) }
  public mutating func endObject() { close(0x7D) }
  public mutating func beginArray() { open(0x5B) }
  public mutating func endArray() { close(0x5D) }

  /// An object whose members `body` writes.
  public mutating func object<E: Error>(_ body: (inout JSONWriter) throws(E) -> Void) throws(E) {
    beginObject()
    try body(&self)
    endObject()
  }

  /// An array whose elements `body` writes.
  public mutating func array<E: Error>(_ body: (inout JSONWriter) throws(E) -> Void) throws(E) {
    beginArray()
    try body(&self)
    endArray()
  }

  /// A member of the open object that is itself an object.
  public mutating func object<E: Error>(_ key: String, _ body: (inout JSONWriter) throws(E) -> Void) throws(E) {
    self.key(key)
    try object(body)
  }

  /// A member of the open object that is an array.
  public mutating func array<E: Error>(_ key: String, _ body: (inout JSONWriter) throws(E) -> Void) throws(E) {
    self.key(key)
    try array(body)
  }

  /// The name of the next value in the open object.
  public mutating func key(_ name: String) {
    separate()
    quote(name)
    bytes.append(0x3A)
    if indented { bytes.append(0x20) }
    afterKey = true
  }
}

// MARK: Values

extension JSONWriter {
  public mutating func string(_ value: String) {
    separate()
    quote(value)
  }

  /// Bytes that ought to be UTF-8, such as a header field's; what is not is shown as U+FFFD.
  public mutating func string(decoding value: some Collection<UInt8>) {
    string(String(decoding: value, as: UTF8.self))
  }

  public mutating func integer(_ value: some BinaryInteger) {
    separate()
    bytes.append(contentsOf: String(value).utf8)
  }

  /// The shortest text that reads back as the same number; JSON knows no infinity and no NaN, they become null.
  public mutating func number(_ value: Double) {
    guard value.isFinite else { return null() }
    separate()
    if let whole = Int64(exactly: value), whole.magnitude < 1 << 53 {
      bytes.append(contentsOf: String(whole).utf8)
    } else {
      bytes.append(contentsOf: value.description.utf8)
    }
  }

  public mutating func bool(_ value: Bool) {
    separate()
    bytes.append(contentsOf: (value ? "true" : "false").utf8)
  }

  public mutating func null() {
    separate()
    bytes.append(contentsOf: "null".utf8)
  }

  /// Text that is one JSON value already, put in as it is.
  public mutating func raw(_ json: some Collection<UInt8>) {
    separate()
    bytes.append(contentsOf: json)
  }

  public mutating func member(_ name: String, _ value: String) {
    key(name)
    string(value)
  }

  public mutating func member(_ name: String, _ value: String?) {
    key(name)
    if let value { string(value) } else { null() }
  }

  public mutating func member(_ name: String, _ value: some BinaryInteger) {
    key(name)
    integer(value)
  }

  public mutating func member(_ name: String, _ value: Double) {
    key(name)
    number(value)
  }

  public mutating func member(_ name: String, _ value: Bool) {
    key(name)
    bool(value)
  }
}

// MARK: Helpers

extension JSONWriter {
  private mutating func open(_ bracket: UInt8) {
    separate()
    bytes.append(bracket)
    hasMembers.append(false)
  }

  private mutating func close(_ bracket: UInt8) {
    assert(!afterKey, "a key without a value")
    let hadMembers = hasMembers.popLast() ?? false
    if hadMembers { breakLine() }
    bytes.append(bracket)
  }

  /// Puts in what belongs between the last thing written and the next one.
  private mutating func separate() {
    if afterKey {
      afterKey = false
      return
    }
    guard let hadMembers = hasMembers.last else { return }
    if hadMembers { bytes.append(0x2C) }
    hasMembers[hasMembers.count - 1] = true
    breakLine()
  }

  private mutating func breakLine() {
    guard indented else { return }
    bytes.append(0x0A)
    for _ in 0..<hasMembers.count { bytes.append(contentsOf: [0x20, 0x20]) }
  }

  /// RFC 8259 section 7: quotation mark, reverse solidus and U+0000 to U+001F must be escaped. DEL and the two Unicode
  /// line separators are too, so that no output, whatever a client sent, disturbs a terminal or a script.
  private mutating func quote(_ value: String) {
    bytes.append(0x22)
    for scalar in value.unicodeScalars {
      switch scalar.value {
      case 0x22: bytes.append(contentsOf: [0x5C, 0x22])
      case 0x5C: bytes.append(contentsOf: [0x5C, 0x5C])
      case 0x08: bytes.append(contentsOf: [0x5C, 0x62])
      case 0x09: bytes.append(contentsOf: [0x5C, 0x74])
      case 0x0A: bytes.append(contentsOf: [0x5C, 0x6E])
      case 0x0C: bytes.append(contentsOf: [0x5C, 0x66])
      case 0x0D: bytes.append(contentsOf: [0x5C, 0x72])
      case 0x00...0x1F, 0x7F...0x9F, 0x2028, 0x2029: escape(scalar.value)
      default: bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
      }
    }
    bytes.append(0x22)
  }

  /// `\uXXXX`; only called for scalars of the basic plane.
  private mutating func escape(_ value: UInt32) {
    let digits = Array("0123456789abcdef".utf8)
    bytes.append(contentsOf: [0x5C, 0x75])
    for shift: UInt32 in [12, 8, 4, 0] { bytes.append(digits[Int((value >> shift) & 0xF)]) }
  }
}
