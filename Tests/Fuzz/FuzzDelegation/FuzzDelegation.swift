// A libFuzzer target for delegation tables: whatever the bytes, reading ends with entries and flaws whose places lie in the
// text; what was read reads back; and a name is bound by it in bounded time, to a tree that can be walked.

import Base
import Glibc
import Policy

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  test(UnsafeRawBufferPointer(start: data, count: size))
  return 0
}

/// One input. `precondition` also stops release builds, and that is what libFuzzer sees.
private func test(_ bytes: UnsafeRawBufferPointer) {
  let parser = DelegationParser(bytes.map { Unicode.Scalar($0) }, maximumEntryCount: 64)
  for flaw in parser.flaws {
    precondition(flaw.range.lowerBound >= 0 && flaw.range.upperBound <= bytes.count, "a place outside of the text")
    precondition(!flaw.message.unicodeScalars.contains { $0.value < 0x20 }, "a control character in a message")
  }
  for entry in parser.entries {
    precondition(entry.nameRanges.count == entry.value.destination.names.count, "a name without a place")
    let text = entry.value.description
    let again = DelegationParser(Array(text.unicodeScalars), maximumEntryCount: 1)
    precondition(again.flaws.isEmpty && again.entries.first?.value == entry.value, "read differently: \(text)")
  }
  let isWhole = parser.flaws.isEmpty && bytes.count <= Delegation.maximumHeaderByteCount
  let header = Result { () throws(DelegationParser.Flaw) in try Delegation.entries(ofHeader: bytes) }
  switch header {
  case .success(let entries):
    precondition(isWhole && entries == parser.entries.map(\.value), "a header is read differently")
  case .failure: precondition(!isWhole, "a header is refused that is none")
  }
  bind(Delegation(entries: parser.entries.map(\.value)))
}

private func bind(_ table: Delegation) {
  for text in ["/svc/web", "/svc/a.b:80/rest", "/a/b/c"] {
    guard let name = try? Path(parsing: text) else { continue }
    let (binding, steps) = table.explain(name, lookup: lookup)
    precondition(binding == table.bind(name, lookup: lookup), "explained differently")
    precondition(steps.count <= Delegation.maximumStepsShown, "too many steps")
    guard case .bound(let bound) = binding else { continue }
    let tree = ServiceTree(bound) { UInt32(truncatingIfNeeded: $0.path.segments.count) }
    var random = RandomSource(seed: 1)
    for empty in 0..<4 as Range<UInt32> { _ = tree.pick(&random) { $0 == empty } }
    tree.destroy()
  }
}

private func lookup(_ path: Path) -> NameLookup {
  switch path.segments[2].utf8.count % 8 {
  case 0, 1: .negative
  case 2: .pending
  case 3: .unavailable("not now")
  default: .service(path, segmentCount: path.segments.count - 1)
  }
}

/// libFuzzer's loop from our own main: SwiftPM gives an executable's main a name of its own.
@main enum FuzzDelegation {
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
