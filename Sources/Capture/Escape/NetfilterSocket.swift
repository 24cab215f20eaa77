// Netlink to netfilter, by hand: a request is a header, the netfilter header, and attributes; the kernel answers each one
// that asks for it with a code. linux/netlink.h and linux/netfilter/nfnetlink.h are the sources.
//
//     0        4     6     8        12       16      17      18       20
//     | length | type|flags| serial | port   | family|version| res. id| attributes: length, type, value, padding to 4 …
//
// Lengths and types are in the machine's byte order; values as their type says.

import CFairlead
import Glibc

/// A netlink socket to netfilter. One thread at a time.
final class NetfilterSocket {
  private let descriptor: Int32
  private var serial: UInt32 = 0

  /// - Throws: the errno value of socket(2).
  init() throws(NetfilterError) {
    let netfilter: Int32 = 12
    descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), netfilter)
    guard descriptor >= 0 else { throw NetfilterError(code: errno) }
  }

  deinit { close(descriptor) }

  /// Sends the messages in one go and returns the kernel's code for each one that asked: 0, or an errno value. Messages
  /// that got no answer, as when the kernel turned away all of them with the first, have the code of the last that did.
  func exchange(_ messages: [NetfilterMessage]) throws(NetfilterError) -> [Int32] {
    var bytes: [UInt8] = []
    let first = serial &+ 1
    for message in messages {
      serial &+= 1
      bytes += message.bytes(serial: serial)
    }
    let sent = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, 0) }
    guard sent == bytes.count else { throw NetfilterError(code: sent < 0 ? errno : EMSGSIZE) }
    // The kernel has done all of it within send: what it says is waiting already.
    var codes: [Int32?] = messages.map { $0.wantsAnswer ? nil : 0 }
    var buffer = [UInt8](repeating: 0, count: 8192)
    while codes.contains(where: { $0 == nil }) {
      let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { break }
      for answer in answers(buffer[..<count]) {
        let index = Int(answer.serial &- first)
        if index < codes.count { codes[index] = answer.code }
      }
    }
    guard let last = codes.last(where: { $0 != nil && $0 != 0 }) ?? codes.first(where: { $0 != nil }) else {
      throw NetfilterError(code: EPROTO)
    }
    return codes.map { $0 ?? last ?? EPROTO }
  }

  /// The error messages (type 2) in a datagram: the code follows the header.
  private func answers(_ datagram: ArraySlice<UInt8>) -> [(serial: UInt32, code: Int32)] {
    var answers: [(serial: UInt32, code: Int32)] = []
    var rest = datagram
    while rest.count >= 20 {
      let message = Array(rest)
      let length = Int(message.word32(at: 0))
      guard length >= 16, length <= message.count else { break }
      if message.word16(at: 4) == 2 {
        answers.append((message.word32(at: 8), 0 &- Int32(bitPattern: message.word32(at: 16))))
      }
      rest = rest.dropFirst((length + 3) & ~3)
    }
    return answers
  }
}

/// What the kernel said instead of doing it.
struct NetfilterError: Error, Equatable {
  let code: Int32
}

/// One request.
struct NetfilterMessage: Equatable {
  let type: UInt16
  let flags: UInt16
  let family: UInt8
  /// In network byte order on the wire.
  var resource: UInt16 = 0
  var attributes: [NetlinkAttribute] = []

  static let request: UInt16 = 1
  static let acknowledge: UInt16 = 4
  /// Refuse to delete what still holds something.
  static let notRecursive: UInt16 = 0x100

  var wantsAnswer: Bool { flags & Self.acknowledge != 0 }

  func bytes(serial: UInt32) -> [UInt8] {
    let body = attributes.flatMap(\.bytes)
    var bytes = native(UInt32(truncatingIfNeeded: 20 + body.count))
    bytes += native(type) + native(flags) + native(serial) + native(UInt32(0))
    bytes += [family, 0, UInt8(resource >> 8), UInt8(resource & 0xFF)]
    return bytes + body
  }
}

/// One attribute; `bytes` has its header and its padding.
struct NetlinkAttribute: Equatable {
  let bytes: [UInt8]

  init(_ type: UInt16, _ value: [UInt8]) {
    let length = UInt16(truncatingIfNeeded: 4 + value.count)
    bytes = native(length) + native(type) + value + [UInt8](repeating: 0, count: (4 - value.count % 4) % 4)
  }

  /// Text with its ending NUL.
  init(_ type: UInt16, _ text: String) { self.init(type, Array(text.utf8) + [0]) }

  init(_ type: UInt16, nested: [NetlinkAttribute]) { self.init(type | 0x8000, nested.flatMap(\.bytes)) }

  /// Marked as being in network byte order.
  init(_ type: UInt16, network value: [UInt8]) { self.init(type | 0x4000, value) }
}

private func native(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

extension [UInt8] {
  fileprivate func word32(at offset: Int) -> UInt32 {
    self[offset..<(offset + 4)].withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
  }

  fileprivate func word16(at offset: Int) -> UInt16 {
    self[offset..<(offset + 2)].withUnsafeBytes { $0.loadUnaligned(as: UInt16.self) }
  }
}
