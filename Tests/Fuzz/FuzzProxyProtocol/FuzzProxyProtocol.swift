// A libFuzzer target: any bytes in front of a connection. Whatever is read as a header is bounded, reads the same whatever
// follows it, is not seen earlier than it is there, and what it says can be written and read again.

import Capture
import Glibc

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  guard let data, size > 0 else { return 0 }
  let bytes = UnsafeRawBufferPointer(start: data, count: size)
  switch ProxyHeader.parse(bytes) {
  case .absent: precondition(ProxyHeader.begins(bytes) == nil)
  case .incomplete: precondition(bytes.count < ProxyHeader.maximumByteCount)
  case .refused: precondition(ProxyHeader.begins(bytes) != nil)
  case .complete(let header):
    precondition(header.byteCount <= bytes.count && header.byteCount <= ProxyHeader.maximumByteCount)
    for count in [0, 1, 5, 6, 12, 15, 16, header.byteCount - 1, header.byteCount] where count <= header.byteCount {
      // In memory of their own: the sanitizer sees what is read beyond.
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
      defer { copy.deallocate() }
      copy.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
      let outcome = ProxyHeader.parse(UnsafeRawBufferPointer(copy))
      precondition(outcome == (count == header.byteCount ? .complete(header) : .incomplete))
    }
    for version in ProxyHeader.Version.allCases {
      let written = ProxyHeader.bytes(version, header.ends)
      let again = written.withUnsafeBytes { ProxyHeader.parse($0) }
      precondition(again == .complete(ProxyHeader(ends: header.ends, byteCount: written.count)))
    }
  }
  return 0
}

/// The package manager renames a program's main, which would lose libFuzzer's own: so its driver is called from here.
@main enum FuzzProxyProtocol {
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
