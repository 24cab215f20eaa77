// A libFuzzer target: any bytes as a request head. The address sanitizer watches for reads outside them; the checks
// here hold for every input, and what goes out must be a valid request again.

import Glibc
import HTTP

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = UnsafeRawBufferPointer(start: data, count: data == nil ? 0 : size)
  let limits = HTTP1Limits(headerBytes: 4096, headers: 32, requestLineBytes: 512)
  var head = RequestHead(maximumFields: 32)
  let outcome = HTTP1Parser.parseRequest(bytes, into: &head, limits: limits)
  checkCuts(bytes, outcome, limits)
  if outcome == .complete {
    checkComplete(head, bytes, limits)
    checkForwarded(head, bytes, limits)
  }
  return 0
}

/// A head cut short is incomplete, or refused for the reason the whole is refused for.
private func checkCuts(_ bytes: UnsafeRawBufferPointer, _ whole: HeadOutcome, _ limits: HTTP1Limits) {
  var head = RequestHead(maximumFields: 32)
  for count in cuts(bytes.count) {
    let cut = HTTP1Parser.parseRequest(UnsafeRawBufferPointer(rebasing: bytes[..<count]), into: &head, limits: limits)
    switch cut {
    case .incomplete: break
    case .complete: precondition(whole == .complete, "a cut is complete, the whole is not")
    case .refused: precondition(cut == whole, "a cut is refused otherwise than the whole")
    }
  }
}

private func checkComplete(_ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ limits: HTTP1Limits) {
  let length = head.headLength
  precondition(length <= bytes.count && length <= limits.headerBytes)
  precondition(head.fields.count <= limits.headers)
  var position = head.fieldsStart
  for index in 0..<head.fields.count {
    let field = head.fields[index]
    precondition(Int(field.lineStart) == position && !field.name.isEmpty && field.name.end < field.value.start + 1)
    precondition(field.value.end + 2 <= Int(field.lineEnd))
    position = Int(field.lineEnd)
  }
  precondition(position + 2 == length)
  for range in [head.methodRange, head.targetRange, head.pathRange, head.queryRange, head.pathAndQueryRange] {
    precondition(range.end <= head.fieldsStart)
  }
  precondition(head.authorityRange.end <= length && head.hostRange.end <= length)

  var again = RequestHead(maximumFields: 32)
  let alone = UnsafeRawBufferPointer(rebasing: bytes[..<length])
  precondition(HTTP1Parser.parseRequest(alone, into: &again, limits: limits) == .complete)
  precondition(again.headLength == length && again.framing == head.framing && again.keepAlive == head.keepAlive)

  for cut in cuts(length) {
    var scanner = HeadScanner()
    precondition(scanner.feed(UnsafeRawBufferPointer(rebasing: alone[..<cut])) == .incomplete)
    precondition(scanner.feed(UnsafeRawBufferPointer(rebasing: alone[cut...])) == .complete(length - cut))
  }
}

private func checkForwarded(_ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ limits: HTTP1Limits) {
  let none = UnsafeRawBufferPointer(start: nil, count: 0)
  let output = UnsafeMutableRawBufferPointer.allocate(
    byteCount: HTTP1Serializer.requestBound(head, extra: none), alignment: 1)
  defer { output.deallocate() }
  guard let count = HTTP1Serializer.writeRequest(head, from: bytes, connection: .upgrade, into: output) else {
    fatalError("the bound is too small")
  }
  let wide = HTTP1Limits(headerBytes: 16384, headers: 64, requestLineBytes: 8192)
  var sent = RequestHead(maximumFields: 64)
  let written = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(output)[..<count])
  let outcome = HTTP1Parser.parseRequest(written, into: &sent, limits: wide)
  if head.authorityRange.isEmpty {
    precondition(outcome == .refused(.badHost), "only an HTTP/1.0 request has no authority")
    return
  }
  precondition(outcome == .complete, "what was written is not a request")
  precondition(sent.headLength == count && sent.framing == head.framing && sent.wantsUpgrade == head.wantsUpgrade)
  precondition(sent.method == head.method && sent.port == head.port)
  precondition(head.authorityRange.slice(of: bytes).elementsEqual(sent.authorityRange.slice(of: written)))
}

/// Some places to cut `count` bytes: all of few, eight of many.
private func cuts(_ count: Int) -> StrideTo<Int> { stride(from: 0, to: count, by: max(1, count / 8)) }

/// The package manager renames a program's main, which would lose libFuzzer's own: so its driver is called from here.
@main enum FuzzRequest {
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
