// One cookie out of a request's Cookie fields (RFC 6265 section 4.2.1): `name=value; name=value`. Found where it stands, not
// decoded: whoever asks compares or hashes it.

extension FieldTable {
  /// The value of the first cookie of this name, without the quotes that may stand around it; nil when there is none. Names are
  /// compared byte by byte: cookies know upper and lower case. `bytes` are the bytes of the head.
  public func cookie(named name: UnsafeRawBufferPointer, in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var field = firstIndex(of: .cookie)
    while let index = field {
      if let value = CookieList.value(of: name, in: self[index].value.slice(of: bytes)) { return value }
      field = firstIndex(of: .cookie, from: index + 1)
    }
    return nil
  }
}

enum CookieList {
  static func value(of name: UnsafeRawBufferPointer, in list: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var start = 0
    while start < list.count {
      while start < list.count, isBlank(list[start]) || list[start] == semicolon { start += 1 }
      var end = start
      while end < list.count, list[end] != semicolon { end += 1 }
      if let value = value(of: name, inPair: UnsafeRawBufferPointer(rebasing: list[start..<end])) { return value }
      start = end
    }
    return nil
  }

  private static func value(
    of name: UnsafeRawBufferPointer, inPair pair: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    guard pair.count > name.count, pair[name.count] == equals, pair[..<name.count].elementsEqual(name) else {
      return nil
    }
    var start = name.count + 1
    var end = pair.count
    while end > start, isBlank(pair[end - 1]) { end -= 1 }
    if end - start >= 2, pair[start] == quote, pair[end - 1] == quote {
      start += 1
      end -= 1
    }
    return UnsafeRawBufferPointer(rebasing: pair[start..<end])
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
  private static let semicolon: UInt8 = 0x3B
  private static let equals: UInt8 = 0x3D
  private static let quote: UInt8 = 0x22
}
