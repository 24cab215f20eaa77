// A libFuzzer target: any bytes as the beginning of a TLS connection. What is found must lie within the bytes, must not
// depend on what follows, and nothing that is called incomplete may be decided earlier than it says.

import Glibc
import TLS

private nonisolated(unsafe) let joined = UnsafeMutableRawBufferPointer.allocate(
  byteCount: ClientHello.maximumMessageByteCount, alignment: 1)

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  guard let data, size > 0 else { return 0 }
  // The first byte says after how many bytes a look is taken before the last one.
  let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(start: data, count: size)[1...])
  let step = Int(data[0]) + 1
  switch ClientHello.parse(bytes, joined: joined) {
  case .refused: break
  case .incomplete(let least):
    precondition(least > bytes.count && least <= ClientHello.maximumByteCount)
  case .complete(let hello):
    check(hello)
    var (count, least) = (0, 0)
    while count < bytes.count {
      // In memory of their own: the sanitizer sees what is read beyond.
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
      defer { copy.deallocate() }
      copy.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
      switch ClientHello.parse(UnsafeRawBufferPointer(copy), joined: joined) {
      case .incomplete(let more):
        precondition(more > count && more <= bytes.count, "it waits for more than there is")
        least = max(least, more)
      case .complete: precondition(count >= least, "decided before it said it could be")
      case .refused: fatalError("the beginning of what is right is refused")
      }
      count += step
    }
  }
  return 0
}

private func check(_ hello: ClientHello) {
  precondition(hello.message.count <= ClientHello.maximumMessageByteCount)
  if let range = hello.serverNameRange {
    precondition(range.lowerBound > 4 && range.upperBound <= hello.message.count && (1...253).contains(range.count))
    for byte in hello.message[range] {
      precondition(byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "/") && byte != UInt8(ascii: ":"))
    }
  }
  precondition(hello.protocolsRange.upperBound <= hello.message.count)
  var rest = hello.protocols[...]
  while let count = rest.first {
    precondition(count > 0 && rest.count > Int(count))
    let name = UnsafeRawBufferPointer(rebasing: rest.dropFirst().prefix(Int(count)))
    precondition(hello.offers(name))
    rest = rest.dropFirst(Int(count) + 1)
  }
}

/// The package manager renames a program's main, which would lose libFuzzer's own: so its driver is called from here.
@main enum FuzzClientHello {
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
