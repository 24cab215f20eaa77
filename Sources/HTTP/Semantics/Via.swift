// Counting how often a message has been here: the loop guard. Via = #( received-protocol RWS received-by [ RWS
// comment ] ), RFC 9110 7.6.3. A comment may hold commas and quoted parentheses, so the list is not split blindly.

extension FieldTable {
  /// How many members of all Via fields name `pseudonym` as the one that received the message, without regard to
  /// case. `bytes` are the bytes of the head. Malformed members count as nothing.
  public func countVia(pseudonym: UnsafeRawBufferPointer, in bytes: UnsafeRawBufferPointer) -> Int {
    var total = 0
    var next = firstIndex(of: .via)
    while let index = next {
      total &+= countMembers(of: self[index].value.slice(of: bytes), receivedBy: pseudonym)
      next = firstIndex(of: .via, from: index &+ 1)
    }
    return total
  }
}

private func countMembers(of value: UnsafeRawBufferPointer, receivedBy pseudonym: UnsafeRawBufferPointer) -> Int {
  var total = 0
  var word = 0  // Words of this member seen so far: 1 the protocol, 2 who received it.
  var depth = 0  // Of nested comments.
  var index = 0
  while index < value.count {
    let byte = value[index]
    if depth > 0 {
      if byte == UInt8(ascii: "\\") { index &+= 1 }
      if byte == UInt8(ascii: "(") { depth &+= 1 }
      if byte == UInt8(ascii: ")") { depth &-= 1 }
      index &+= 1
      continue
    }
    if byte == UInt8(ascii: "(") {
      depth = 1
      index &+= 1
    } else if byte == UInt8(ascii: ",") {
      word = 0
      index &+= 1
    } else if isBlank(byte) {
      index &+= 1
    } else {
      let start = index
      while index < value.count, !isBlank(value[index]), value[index] != UInt8(ascii: ","),
        value[index] != UInt8(ascii: "(")
      { index &+= 1 }
      word &+= 1
      if word == 2, equalIgnoringCase(UnsafeRawBufferPointer(rebasing: value[start..<index]), pseudonym) {
        total &+= 1
      }
    }
  }
  return total
}
