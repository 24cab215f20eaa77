// The handshake of WebSocket (RFC 6455 section 4) as far as a proxy between two versions of HTTP has to take part: over HTTP/1 a
// client sends a key and expects its digest back, over HTTP/2 there is neither (RFC 8441 section 5).
//
//     sec-websocket-accept = base64( SHA-1( key "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" ) )
//
// SHA-1 proves here that somebody has read the request, and nothing else; it protects no secret.

/// Keys and their answers. Pure; allocates nothing.
public enum WebSocketHandshake {
  /// Bytes of a key: 16 in base 64.
  public static var keyByteCount: Int { 24 }
  /// Bytes of an answer: 20 in base 64.
  public static var answerByteCount: Int { 28 }

  /// Whether bytes can be a key.
  public static func isKey(_ key: UnsafeRawBufferPointer) -> Bool {
    key.count == keyByteCount && key[22] == pad && key[23] == pad
      && key.prefix(22).allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2B, 0x2F: true
        default: false
        }
      }
  }

  /// Writes the answer to a key. False when it is no key, or there is no room.
  public static func writeAnswer(to key: UnsafeRawBufferPointer, into answer: UnsafeMutableRawBufferPointer) -> Bool {
    guard isKey(key), answer.count >= answerByteCount else { return false }
    // The key and the constant, 60 bytes, a bit, and the length: two blocks.
    var message = InlineArray<128, UInt8>(repeating: 0)
    for position in 0..<24 { message[position] = key[position] }
    for position in 0..<36 { message[24 + position] = constant.utf8Start[position] }
    message[60] = 0x80
    // 480 bits.
    message[126] = 0x01
    message[127] = 0xE0
    var state: InlineArray<5, UInt32> = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
    addBlock(message, from: 0, to: &state)
    addBlock(message, from: 64, to: &state)
    for group in 0..<7 {
      var bits: UInt32 = 0
      for place in 0..<3 {
        let position = group * 3 + place
        let byte = position < 20 ? state[position / 4] >> UInt32(24 - position % 4 * 8) & 0xFF : 0
        bits = bits << 8 | byte
      }
      for digit in 0..<4 {
        answer[group * 4 + digit] = digits.utf8Start[Int(bits >> UInt32(18 - digit * 6) & 0x3F)]
      }
    }
    answer[27] = pad
    return true
  }

  /// FIPS 180-4 section 6.1.2.
  private static func addBlock(
    _ message: borrowing InlineArray<128, UInt8>, from start: Int, to state: inout InlineArray<5, UInt32>
  ) {
    var schedule = InlineArray<80, UInt32>(repeating: 0)
    for round in 0..<16 {
      var word: UInt32 = 0
      for place in 0..<4 { word = word << 8 | UInt32(message[start + round * 4 + place]) }
      schedule[round] = word
    }
    for round in 16..<80 {
      schedule[round] = rotated(
        schedule[round - 3] ^ schedule[round - 8] ^ schedule[round - 14] ^ schedule[round - 16], 1)
    }
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for round in 0..<80 {
      let mixed: UInt32
      let constant: UInt32
      switch round / 20 {
      case 0: (mixed, constant) = (b & c | ~b & d, 0x5A82_7999)
      case 1: (mixed, constant) = (b ^ c ^ d, 0x6ED9_EBA1)
      case 2: (mixed, constant) = (b & c | b & d | c & d, 0x8F1B_BCDC)
      default: (mixed, constant) = (b ^ c ^ d, 0xCA62_C1D6)
      }
      let next = rotated(a, 5) &+ mixed &+ e &+ constant &+ schedule[round]
      (a, b, c, d, e) = (next, a, rotated(b, 30), c, d)
    }
    state[0] = state[0] &+ a
    state[1] = state[1] &+ b
    state[2] = state[2] &+ c
    state[3] = state[3] &+ d
    state[4] = state[4] &+ e
  }

  private static func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }

  private static let pad = UInt8(ascii: "=")
  private static let constant: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
  private static let digits: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
}

extension RequestHead {
  /// The key of a request that asks for WebSocket and nothing else, as RFC 6455 section 4.1 has it; nil for any other request.
  /// `bytes` are the bytes of the head.
  public borrowing func webSocketKey(in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard wantsUpgrade, method == .get, framing == .none, let upgrade = fields.firstIndex(of: .upgrade),
      fields.firstIndex(of: .upgrade, from: upgrade + 1) == nil,
      equalIgnoringCase(fields[upgrade].value.slice(of: bytes), RequestHead.bytes("websocket")),
      let index = fields.firstIndex(named: RequestHead.bytes("sec-websocket-key"), in: bytes)
    else { return nil }
    let key = fields[index].value.slice(of: bytes)
    return WebSocketHandshake.isKey(key) ? key : nil
  }

  private static func bytes(_ text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }
}
