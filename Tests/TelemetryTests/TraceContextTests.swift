// traceparent: the specification's examples, everything it says to refuse, and every length.

import Base
import Testing

@testable import Telemetry

@Suite struct TraceContextTests {
  @Test(
    "a well-formed value is read and written back",
    arguments: [
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-00000000000000000000000000000001-0000000000000001-00",
      "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-03",
    ])
  func roundTrip(text: String) throws {
    #expect(written(try #require(parse(text))) == text)
  }

  @Test("unknown flags are dropped, a later version is written as 00")
  func versions() throws {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
    #expect(written(try #require(parse("00-\(id)-ff"))) == "00-\(id)-03")
    #expect(written(try #require(parse("cc-\(id)-01"))) == "00-\(id)-01")
    #expect(written(try #require(parse("cc-\(id)-01-what-the-future-will-be-like"))) == "00-\(id)-01")
  }

  @Test(
    "what the specification refuses is refused",
    arguments: [
      "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
      "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
      "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
      "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
      " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
    ])
  func refused(text: String) {
    #expect(parse(text) == nil)
  }

  @Test("every shorter prefix is refused")
  func prefixes() {
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for length in 0..<text.utf8.count { #expect(parse(String(text.prefix(length))) == nil) }
  }

  @Test("a child keeps the trace and the flags, and has a span of its own")
  func children() {
    var random = RandomSource(seed: 7)
    let root = TraceContext.started(using: &random, sampled: true)
    let child = root.child(using: &random)
    #expect(root.isSampled && child.isSampled)
    #expect(child.traceHigh == root.traceHigh && child.traceLow == root.traceLow && child.span != root.span)
    #expect(!TraceContext.started(using: &random, sampled: false).isSampled)
  }

  @Test("a buffer that is too small gets nothing")
  func smallBuffer() {
    let context = TraceContext(traceHigh: 1, traceLow: 2, span: 3, flags: 1)
    var bytes = [UInt8](repeating: 9, count: 54)
    #expect(bytes.withUnsafeMutableBytes { context.write(into: $0) } == 0)
    #expect(bytes.allSatisfy { $0 == 9 })
  }

  private func parse(_ text: String) -> TraceContext? {
    let bytes = Array(text.utf8)
    return TraceContext.parse(bytes.span.bytes)
  }

  private func written(_ context: TraceContext) -> String {
    var bytes = [UInt8](repeating: 0, count: 55)
    let count = bytes.withUnsafeMutableBytes { context.write(into: $0) }
    return String(decoding: bytes[..<count], as: UTF8.self)
  }
}
