// A libFuzzer target: any bytes as a chunked body. The first byte says how the rest is cut; the result must not depend
// on that, and trailers that follow go through their parser and out again.

import Glibc
import HTTP

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  guard let data, size > 0 else { return 0 }
  let input = UnsafeRawBufferPointer(start: data, count: size)
  let bytes = UnsafeRawBufferPointer(rebasing: input[1...])
  let whole = decode(bytes, pieceBytes: max(bytes.count, 1))
  precondition(whole == decode(bytes, pieceBytes: Int(input[0]) % 17 + 1), "the result depends on the split")
  if case .trailers(let start) = whole.end { checkTrailers(UnsafeRawBufferPointer(rebasing: bytes[start...])) }
  return 0
}

private struct Decoded: Equatable {
  var body: [UInt8] = []
  var end = ChunkedDecoder.Event.needMore
}

/// Decodes `bytes` in pieces; the event at the end carries an index into all of `bytes`.
private func decode(_ bytes: UnsafeRawBufferPointer, pieceBytes: Int) -> Decoded {
  var decoder = ChunkedDecoder()
  var result = Decoded()
  var start = 0
  while start < bytes.count {
    let piece = Array(bytes[start..<min(start + pieceBytes, bytes.count)])
    var offset = 0
    while offset < piece.count {
      let event = piece.withUnsafeBytes { decoder.next($0, from: offset) }
      switch event {
      case .data(let range):
        precondition(range.lowerBound >= offset && !range.isEmpty && range.upperBound <= piece.count)
        result.body += piece[range]
        offset = range.upperBound
        continue
      case .needMore: offset = piece.count
      case .trailers(let at):
        precondition(at >= offset && at < piece.count && decoder.isDone)
        result.end = .trailers(at: start + at)
        return result
      case .end(let at):
        precondition(at > offset || at == 1 && offset == 0)
        precondition(at <= piece.count && decoder.isDone)
        result.end = .end(at: start + at)
        return result
      case .refused:
        result.end = event
        return result
      }
    }
    start += piece.count
  }
  return result
}

private func checkTrailers(_ bytes: UnsafeRawBufferPointer) {
  let limits = HTTP1Limits(headerBytes: 4096, headers: 32)
  var table = FieldTable(capacity: 32)
  var consumed = 0
  let outcome = HTTP1Parser.parseTrailers(bytes, into: &table, limits: limits, consumed: &consumed)
  guard outcome == .complete else { return }
  precondition(consumed <= bytes.count)
  var scanner = HeadScanner(.trailers)
  precondition(scanner.feed(bytes) == .complete(consumed))

  let output = UnsafeMutableRawBufferPointer.allocate(byteCount: consumed + 3, alignment: 1)
  defer { output.deallocate() }
  guard let count = HTTP1Serializer.writeTrailers(table, from: bytes, into: output) else {
    fatalError("trailers grew on their way out")
  }
  var decoder = ChunkedDecoder()
  let written = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(output)[..<count])
  switch decoder.next(written, from: 0) {
  case .end(let at): precondition(at == count)
  case .trailers(let at):
    let section = UnsafeRawBufferPointer(rebasing: written[at...])
    let again = HTTP1Parser.parseTrailers(section, into: &table, limits: limits, consumed: &consumed)
    precondition(again == .complete && at + consumed == count)
    for index in 0..<table.count { precondition(table[index].isForwarded) }
  case .data, .needMore, .refused: fatalError("what was written is not the end of a chunked body")
  }
}

/// The package manager renames a program's main, which would lose libFuzzer's own: so its driver is called from here.
@main enum FuzzChunked {
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
