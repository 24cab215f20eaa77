// The fields of a head that goes out, as nghttp2 wants them: pointers into the head's bytes, nothing copied. Made from heads
// the HTTP/1 parser has filled in; what concerns one connection only is left out (RFC 9113 section 8.2.2).

import CNGHTTP2

/// The fields of one head. Owns room for so many entries, is reused for one head after another, belongs to one thread. What it
/// points to must stay until the head is submitted.
public struct HTTP2Fields: ~Copyable {
  let entries: UnsafeMutablePointer<nghttp2_nv>
  let capacity: Int
  public private(set) var count = 0
  /// The three digits of a status.
  private let digits: UnsafeMutablePointer<UInt8>

  /// Room for heads of up to `maximumFields` fields.
  public init(maximumFields: Int) {
    // Besides: pseudo-fields, and lines of our own.
    capacity = maximumFields + 16
    entries = .allocate(capacity: capacity)
    digits = .allocate(capacity: 3)
  }

  deinit {
    entries.deallocate()
    digits.deallocate()
  }

  public mutating func removeAll() { count = 0 }

  /// Adds a field. What does not fit is left out: there is room for every field a head may have.
  public mutating func add(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    guard count < capacity else { return }
    // nghttp2 copies both, the name in small letters, before it returns from a submit; it only reads.
    entries[count] = nghttp2_nv(
      name: UnsafeMutablePointer(mutating: name.baseAddress?.assumingMemoryBound(to: UInt8.self)),
      value: UnsafeMutablePointer(mutating: value.baseAddress?.assumingMemoryBound(to: UInt8.self)),
      namelen: name.count, valuelen: value.count, flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue))
    count += 1
  }

  public mutating func add(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
    add(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount), value)
  }

  public mutating func add(_ name: StaticString, _ value: StaticString) {
    add(name, UnsafeRawBufferPointer(start: value.utf8Start, count: value.utf8CodeUnitCount))
  }

  /// Puts another value in place of a field's, where the head has that; it will not stand in the peer's table of fields.
  public mutating func replace(_ name: StaticString, with value: UnsafeRawBufferPointer) {
    let name = UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
    for index in 0..<count
    where equalIgnoringCase(UnsafeRawBufferPointer(start: entries[index].name, count: entries[index].namelen), name) {
      entries[index].value = UnsafeMutablePointer(mutating: value.baseAddress?.assumingMemoryBound(to: UInt8.self))
      entries[index].valuelen = value.count
      entries[index].flags |= UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue)
    }
  }

  /// `:status`.
  public mutating func add(status: UInt16) {
    digits[0] = UInt8(truncatingIfNeeded: status / 100 % 10) + 0x30
    digits[1] = UInt8(truncatingIfNeeded: status / 10 % 10) + 0x30
    digits[2] = UInt8(truncatingIfNeeded: status % 10) + 0x30
    add(":status", UnsafeRawBufferPointer(start: digits, count: 3))
  }

  /// All fields that are passed on as they are.
  public mutating func addForwarded(_ fields: borrowing FieldTable, _ bytes: UnsafeRawBufferPointer) {
    for index in 0..<fields.count {
      let field = fields[index]
      if field.isForwarded { add(field.name.slice(of: bytes), field.value.slice(of: bytes)) }
    }
  }

  /// A response head. `contentLength` is written where the head frames by length, or carries it as information.
  public mutating func set(
    response head: borrowing ResponseHead, _ bytes: UnsafeRawBufferPointer, hasBody: Bool, isHead: Bool
  ) {
    removeAll()
    add(status: head.status.code)
    addForwarded(head.fields, bytes)
    guard hasBody || isHead || head.status.code == 304 else { return }
    if let index = head.fields.firstIndex(of: .contentLength) {
      add("content-length", head.fields[index].value.slice(of: bytes))
    }
  }

  /// A request head as it was written for an HTTP/1 endpoint, and parsed again.
  ///
  /// - Parameter scheme: `http` or `https`.
  public mutating func set(
    request head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, scheme: StaticString
  ) {
    removeAll()
    let isWebSocket = head.wantsUpgrade
    if isWebSocket {
      add(":method", "CONNECT")
      add(":protocol", "websocket")
    } else {
      add(":method", head.methodRange.slice(of: bytes))
    }
    add(":scheme", scheme)
    add(":authority", head.authorityRange.slice(of: bytes))
    add(":path", head.targetRange.slice(of: bytes))
    for index in 0..<head.fields.count {
      let field = head.fields[index]
      switch field.kind {
      case .host, .connection, .transferEncoding, .upgrade, .keepAlive, .proxyConnection, .http2Settings: continue
      case .te:
        if head.acceptsTrailers { add("te", "trailers") }
      case .other where isWebSocket && isHandshakeKey(field.name.slice(of: bytes)): continue
      default: add(field.name.slice(of: bytes), field.value.slice(of: bytes))
      }
    }
  }

  private func isHandshakeKey(_ name: UnsafeRawBufferPointer) -> Bool {
    let key: StaticString = "sec-websocket-key"
    return equalIgnoringCase(name, UnsafeRawBufferPointer(start: key.utf8Start, count: key.utf8CodeUnitCount))
  }
}
