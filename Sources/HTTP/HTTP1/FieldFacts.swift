// What the fields of one head say together: framing, persistence, upgrade, host. Noted field by field while the
// lines are parsed, so that a contradiction is refused where it appears, and judged once at the end.

/// Facts gathered from the fields of one head; lives for one parse.
struct FieldFacts {
  let message: Message
  let version: Version
  var flags = Flags(rawValue: 0)
  var contentLength: UInt64 = 0
  /// Host's value and its parts; requests only.
  var authority = ByteRange.empty
  var host = ByteRange.empty
  var port: UInt16 = 0
  private var nominations: UInt8 = 0

  init(message: Message, version: Version) {
    self.message = message
    self.version = version
  }

  /// Whose fields they are.
  enum Message: UInt8 {
    case request, response, trailers
  }

  struct Flags: OptionSet {
    let rawValue: UInt16
    static let close = Flags(rawValue: 1)
    static let keepAlive = Flags(rawValue: 2)
    static let upgradeOption = Flags(rawValue: 4)
    static let upgrade = Flags(rawValue: 8)
    static let http2Offer = Flags(rawValue: 16)
    static let contentLength = Flags(rawValue: 32)
    static let chunked = Flags(rawValue: 64)
    static let host = Flags(rawValue: 128)
    static let expectsContinue = Flags(rawValue: 256)
    static let traceparent = Flags(rawValue: 512)
    static let acceptsTrailers = Flags(rawValue: 1024)
    /// A Connection option names a field that may have to be dropped.
    static let nominates = Flags(rawValue: 2048)
  }

  /// Takes note of a field; whether it is passed on as it is.
  @inline(never) mutating func note(
    _ kind: FieldName, _ value: ByteRange, _ view: ByteView
  ) throws(HeadStop) -> Bool {
    // RFC 9110 6.5.1: a trailer frames and routes nothing, whatever it says.
    if message == .trailers { return false }
    switch kind {
    case .host: try noteHost(value, view)
    case .connection: try noteConnection(value, view)
    case .contentLength: try noteContentLength(value, view)
    case .transferEncoding: try noteTransferEncoding(value, view)
    case .te: if list(value, view, has: "trailers") { flags.insert(.acceptsTrailers) }
    case .upgrade:
      flags.insert(.upgrade)
      if list(value, view, has: "h2c") { flags.insert(.http2Offer) }
    case .expect:
      // RFC 9110 10.1.1: an HTTP/1.0 client does not wait, and must not be sent 100 by the next hop on our account.
      if version == .http10 { return false }
      if view.matches(value, "100-continue") { flags.insert(.expectsContinue) }
    case .traceparent: flags.insert(.traceparent)
    case .l5d: return message != .request
    default: break
    }
    return !kind.isConnectionLevel
  }

  private mutating func noteHost(_ value: ByteRange, _ view: ByteView) throws(HeadStop) {
    guard message == .request else { return }
    guard !flags.contains(.host) else { throw .refused(.duplicateHost) }
    guard let parsed = Authority(view, value) else { throw .refused(.badHost) }
    flags.insert(.host)
    authority = value
    host = parsed.host
    port = parsed.port
  }

  /// Content-Length = 1*DIGIT, once. A repeated field is refused even when it says the same (RFC 9112 6.3 would allow
  /// it): there is no honest reason for one.
  private mutating func noteContentLength(_ value: ByteRange, _ view: ByteView) throws(HeadStop) {
    guard !flags.contains(.contentLength) else { throw .refused(.duplicateContentLength) }
    guard !flags.contains(.chunked) else { throw .refused(.lengthAndTransferEncoding) }
    guard !value.isEmpty else { throw .refused(.badContentLength) }
    var number: UInt64 = 0
    for index in value.start..<value.end {
      let digit = view[index] &- 0x30
      guard digit < 10 else { throw .refused(.badContentLength) }
      let (product, overflow) = number.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
      guard !overflow, !carry, sum <= UInt64(Int64.max) else { throw .refused(.contentLengthOverflow) }
      number = sum
    }
    contentLength = number
    flags.insert(.contentLength)
  }

  /// Only `chunked`, alone: another coding could not be passed on under framing of our own.
  private mutating func noteTransferEncoding(_ value: ByteRange, _ view: ByteView) throws(HeadStop) {
    guard version == .http11 else { throw .refused(.transferEncodingInHTTP10) }
    guard !flags.contains(.contentLength) else { throw .refused(.lengthAndTransferEncoding) }
    var members = ListMembers(value)
    while let member = members.next(view) {
      guard !member.isEmpty else { throw .refused(.emptyTransferEncoding) }
      let isChunked = view.matches(member, "chunked")
      if flags.contains(.chunked) { throw .refused(isChunked ? .chunkedTwice : .chunkedNotLast) }
      guard isChunked else { throw .refused(.unknownTransferCoding) }
      flags.insert(.chunked)
    }
  }

  private mutating func noteConnection(_ value: ByteRange, _ view: ByteView) throws(HeadStop) {
    var members = ListMembers(value)
    while let member = members.next(view) {
      if member.isEmpty { continue }
      if view.matches(member, "keep-alive") {
        flags.insert(.keepAlive)
      } else if view.matches(member, "close") {
        flags.insert(.close)
      } else if view.matches(member, "upgrade") {
        flags.insert(.upgradeOption)
      } else {
        nominations &+= 1
        guard nominations <= FieldFacts.maximumNominations else { throw .refused(.tooManyConnectionOptions) }
        flags.insert(.nominates)
      }
    }
  }

  private func list(_ value: ByteRange, _ view: ByteView, has wanted: StaticString) -> Bool {
    var members = ListMembers(value)
    while let member = members.next(view) {
      if view.matches(member, wanted) { return true }
    }
    return false
  }

  /// Options of all Connection fields beside close, keep-alive and upgrade. Each is compared with every field, so the
  /// product must stay small.
  private static let maximumNominations: UInt8 = 32

  /// Marks the fields that Connection options name as not to be passed on. Rare: only called when there are any.
  @inline(never) static func dropNominated(_ view: ByteView, _ table: inout FieldTable) {
    var next = table.firstIndex(of: .connection)
    while let index = next {
      var members = ListMembers(table[index].value)
      while let option = members.next(view) {
        guard !option.isEmpty else { continue }
        for candidate in 0..<table.count where !table[candidate].kind.isProtected {
          if view.equal(table[candidate].name, option) { table.setForwarded(false, at: candidate) }
        }
      }
      next = table.firstIndex(of: .connection, from: index &+ 1)
    }
  }
}

/// Walks the members of a comma-separated list (RFC 9110 5.6.1), empty ones included, without the whitespace around
/// them. An empty value is one empty member. Not for lists whose members may contain quoted commas.
struct ListMembers {
  private var position: Int
  private let end: Int
  private var isDone = false

  init(_ value: ByteRange) {
    position = value.start
    end = value.end
  }

  mutating func next(_ view: ByteView) -> ByteRange? {
    if isDone { return nil }
    var index = position
    while index < end, view[index] != UInt8(ascii: ",") { index &+= 1 }
    let member = view.trimmed(position, index)
    isDone = index >= end
    position = index &+ 1
    return member
  }
}
