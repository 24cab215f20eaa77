// The caller's deadline as a header.

import Base
import Policy
import Testing

private func parse(_ text: String) -> Deadline? {
  Array(text.utf8).withUnsafeBytes { Deadline(parsing: $0) }
}

@Suite struct DeadlineTests {
  @Test(
    "what Linkerd writes is read",
    arguments: [
      ("1700000000000000000 1700000002500000000", 1_700_000_002_500_000_000), ("0 0", 0), (" 1\t 2 ", 2),
      ("0 9223372036854775807", 9_223_372_036_854_775_807),
    ] as [(String, UInt64)])
  func reads(text: String, expected: UInt64) { #expect(parse(text)?.wallNanoseconds == expected) }

  @Test(
    "anything else is no deadline",
    arguments: [
      "", " ", "1", "1 ", "12", "1,2", "1 2 3", "1 2x", "x1 2", "-1 2", "+1 2", "2 1", "1 9223372036854775808",
      "1 99999999999999999999999", "0x1 0x2", "1.0 2.0", "1\u{0} 2", "１ ２",
    ])
  func refuses(text: String) { #expect(parse(text) == nil) }

  @Test("a deadline can only shorten: the stricter of two, and never more than is left")
  func shortens() {
    let (early, late) = (Deadline(wallNanoseconds: 100), Deadline(wallNanoseconds: 200))
    #expect(early.combined(with: late) == early)
    #expect(late.combined(with: early) == early)
    #expect(early.remainingNanoseconds(wallNow: 40) == 60)
    #expect(early.remainingNanoseconds(wallNow: 100) == 0)
    #expect(early.remainingNanoseconds(wallNow: .max) == 0)
    let now = MonotonicInstant(nanoseconds: 7)
    #expect(early.instant(wallNow: 40, now: now).nanoseconds == 67)
    #expect(early.instant(wallNow: 400, now: now) == now)
    #expect(
      Deadline(wallNanoseconds: .max).instant(wallNow: 0, now: now) == MonotonicInstant(nanoseconds: .max))
  }
}
