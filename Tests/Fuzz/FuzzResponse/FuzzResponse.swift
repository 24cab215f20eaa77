// A libFuzzer target: any bytes as a response head. The first byte chooses what was asked, the rest is the response.

import Glibc
import HTTP

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  guard let data, size > 0 else { return 0 }
  let input = UnsafeRawBufferPointer(start: data, count: size)
  let context = ResponseContext(
    method: Method(rawValue: input[0] >> 4) ?? .get, wantsUpgrade: input[0] & 1 != 0)
  let bytes = UnsafeRawBufferPointer(rebasing: input[1...])
  let limits = HTTP1Limits(headerBytes: 4096, headers: 32)
  var head = ResponseHead(maximumFields: 32)
  let outcome = HTTP1Parser.parseResponse(bytes, into: &head, context: context, limits: limits)
  checkCuts(bytes, outcome, context, limits)
  if outcome == .complete {
    checkComplete(head, bytes, context, limits)
    for version in Version.allCases { checkForwarded(head, bytes, context, towards: version) }
  }
  return 0
}

/// A head cut short is incomplete, or refused for the reason the whole is refused for.
private func checkCuts(
  _ bytes: UnsafeRawBufferPointer, _ whole: HeadOutcome, _ context: ResponseContext, _ limits: HTTP1Limits
) {
  var head = ResponseHead(maximumFields: 32)
  for count in cuts(bytes.count) {
    let part = UnsafeRawBufferPointer(rebasing: bytes[..<count])
    let cut = HTTP1Parser.parseResponse(part, into: &head, context: context, limits: limits)
    switch cut {
    case .incomplete: break
    case .complete: precondition(whole == .complete, "a cut is complete, the whole is not")
    case .refused: precondition(cut == whole, "a cut is refused otherwise than the whole")
    }
  }
}

private func checkComplete(
  _ head: borrowing ResponseHead, _ bytes: UnsafeRawBufferPointer, _ context: ResponseContext, _ limits: HTTP1Limits
) {
  let length = head.headLength
  precondition(length <= bytes.count && length <= limits.headerBytes && head.fields.count <= limits.headers)
  precondition(head.status.code >= 100 && head.status.code <= 999 && head.reasonRange.end + 2 == head.fieldsStart)
  if head.status.isAlwaysBodiless || context.method == .head { precondition(head.framing == .none) }
  if head.framing == .untilClose { precondition(!head.keepAlive) }

  let alone = UnsafeRawBufferPointer(rebasing: bytes[..<length])
  var again = ResponseHead(maximumFields: 32)
  precondition(HTTP1Parser.parseResponse(alone, into: &again, context: context, limits: limits) == .complete)
  precondition(again.headLength == length && again.framing == head.framing && again.keepAlive == head.keepAlive)

  for cut in cuts(length) {
    var scanner = HeadScanner()
    precondition(scanner.feed(UnsafeRawBufferPointer(rebasing: alone[..<cut])) == .incomplete)
    precondition(scanner.feed(UnsafeRawBufferPointer(rebasing: alone[cut...])) == .complete(length - cut))
  }
}

private func checkForwarded(
  _ head: borrowing ResponseHead, _ bytes: UnsafeRawBufferPointer, _ context: ResponseContext, towards version: Version
) {
  let none = UnsafeRawBufferPointer(start: nil, count: 0)
  let output = UnsafeMutableRawBufferPointer.allocate(
    byteCount: HTTP1Serializer.responseBound(head, extra: none), alignment: 1)
  defer { output.deallocate() }
  let framing = head.framing(towards: version)
  let connection = ConnectionOption.upgrade
  guard
    let count = HTTP1Serializer.writeResponse(
      head, from: bytes, framing: framing, connection: connection, into: output)
  else { fatalError("the bound is too small") }
  var sent = ResponseHead(maximumFields: 64)
  let written = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(output)[..<count])
  let limits = HTTP1Limits(headerBytes: 16384, headers: 64)
  precondition(
    HTTP1Parser.parseResponse(written, into: &sent, context: context, limits: limits) == .complete,
    "what was written is not a response")
  precondition(sent.headLength == count && sent.framing == framing && sent.status == head.status)
  precondition(sent.isSwitch == head.isSwitch && sent.isTunnel == head.isTunnel)
}

/// Some places to cut `count` bytes: all of few, eight of many.
private func cuts(_ count: Int) -> StrideTo<Int> { stride(from: 0, to: count, by: max(1, count / 8)) }

/// The package manager renames a program's main, which would lose libFuzzer's own: so its driver is called from here.
@main enum FuzzResponse {
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
