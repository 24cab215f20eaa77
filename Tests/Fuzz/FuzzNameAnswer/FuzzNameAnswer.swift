// A libFuzzer target for answers of name servers: c-ares carries them, what they mean is read by DNSMessage and DNSAnswer.
// Whatever the bytes, reading ends; names have only what hosts have; and what is used can be connected to.

import Base
import Discovery
import Glibc

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = [UInt8](UnsafeRawBufferPointer(start: data, count: data == nil ? 0 : min(size, 65_535)))
  guard let message = DNSMessage(bytes) else { return 0 }
  precondition(message == DNSMessage(bytes), "read differently")
  for record in message.answers + message.additionals {
    check(name: record.name)
    switch record.content {
    case .alias(let name): check(name: name)
    case .service(_, _, _, let target): if !target.isEmpty { check(name: target) }
    case .v4, .v6: break
    }
  }
  for type in [DNSType.a, .aaaa, .srv] {
    // The question is the first answer's, so that aliases are followed.
    guard case .records(let contents, let ttl, _, _) = DNSAnswer(message, to: message.answers.first?.name ?? "", type)
    else { continue }
    precondition(!contents.isEmpty && contents.count <= message.answers.count && ttl <= UInt32.max >> 1, "no answer")
    for content in contents { check(content, type) }
  }
  return 0
}

private func check(name: String) {
  precondition(!name.isEmpty && name.utf8.count <= 255 + 1, "a name of \(name.utf8.count) bytes")
  precondition(
    name.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
      default: false
      }
    }, "a byte that no host's name has")
}

private func check(_ content: DNSRecord.Content, _ type: DNSType) {
  switch (content, type) {
  case (.v4(let address), .a): precondition(address.value >> 24 != 0 && address.value >> 28 < 14)
  case (.v6(let address), .aaaa): precondition(address.high >> 56 != 0xFF)
  case (.service(_, _, let port, let target), .srv): precondition(port != 0 || target.isEmpty)
  default: preconditionFailure("a record of another type")
  }
}

/// libFuzzer's loop from our own main: SwiftPM gives an executable's main a name of its own.
@main enum FuzzNameAnswer {
  static func main() {
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(runDriver(&count, &arguments, fuzzOneInput))
  }
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ testOneInput: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
