// gRPC's statuses and timeouts, as they are read and what is made of them.

import HTTP
import Policy
import Testing

@Suite("gRPC")
struct GRPCTests {
  private func status(_ text: String) -> UInt8 {
    Array(text.utf8).withUnsafeBytes { GRPCStatus(parsing: $0).code }
  }

  private func timeout(_ text: String) -> UInt64? {
    Array(text.utf8).withUnsafeBytes { GRPCTimeout.parse($0) }
  }

  @Test("every known code is read as it is, and whatever else as UNKNOWN")
  func codes() {
    for code in 0..<17 { #expect(status(String(code)) == code) }
    for text in ["", "17", "99", "100", "-1", "+1", " 1", "1 ", "0x1", "99999999999999999999"] {
      #expect(status(text) == 2, "\(text)")
    }
  }

  @Test("failures of the endpoint count as 5xx, mistakes of the caller as 4xx")
  func classes() {
    let failures: Set<UInt8> = [2, 4, 12, 13, 14, 15]
    for code in 0..<17 {
      let http = GRPCStatus(code: UInt8(code)).httpStatus
      #expect((http >= 500) == failures.contains(UInt8(code)), "\(code) is \(http)")
      #expect((http == 200) == (code == 0))
    }
  }

  @Test(
    "timeouts have up to eight digits and a unit",
    arguments: [
      ("1H", 3_600_000_000_000), ("2M", 120_000_000_000), ("3S", 3_000_000_000), ("100m", 100_000_000), ("5u", 5_000),
      ("7n", 7), ("0S", 0), ("99999999n", 99_999_999), ("", nil), ("S", nil), ("1", nil), ("1s", nil), ("-1S", nil),
      ("1.5S", nil), ("123456789n", nil), (" 1S", nil),
    ] as [(String, UInt64?)])
  func timeouts(_ text: String, _ expected: UInt64?) { #expect(timeout(text) == expected) }

  @Test(
    "a timeout is written in the finest unit that eight digits allow, and never as none",
    arguments: [
      (0, "1n"), (1, "1n"), (99_999_999, "99999999n"), (100_000_000, "100000u"), (1_999_999_999, "1999999u"),
      (99_999_999_999, "99999999u"), (100_000_000_000, "100000m"), (86_400_000_000_000, "86400000m"),
      (100_000_000_000_000, "100000S"), (.max, "5124095H"),
    ] as [(UInt64, String)])
  func written(_ nanoseconds: UInt64, _ expected: String) {
    let text = withUnsafeTemporaryAllocation(byteCount: GRPCTimeout.encodedByteCount, alignment: 1) {
      String(decoding: $0[..<GRPCTimeout.write(nanoseconds, into: $0)], as: UTF8.self)
    }
    #expect(text == expected)
    #expect(timeout(text).map { $0 <= max(nanoseconds, 1) && $0 >= nanoseconds / 100 * 99 } == true)
  }

  @Test("what overflows lasts for ever")
  func overflow() { #expect(timeout("99999999H") == .max) }

  @Test("UNAVAILABLE may be sent again by default, every failure of the endpoint where that is said")
  func retries() {
    #expect(ResponseClassifier.grpcDefault.isRetryable(GRPCStatus.unavailable))
    #expect(!ResponseClassifier.grpcDefault.isRetryable(GRPCStatus.internal))
    #expect(ResponseClassifier.grpcAlways.isRetryable(GRPCStatus.internal))
    #expect(!ResponseClassifier.grpcAlways.isRetryable(GRPCStatus(code: 5)))
    #expect(!ResponseClassifier.read5xx.isRetryable(GRPCStatus.unavailable))
    #expect(!ResponseClassifier.grpcDefault.isRetryable(.get, status: 503))
  }
}
