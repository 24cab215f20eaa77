// Sizes and durations as people write them.

import Base
import Testing

@Suite("Sizes and durations")
struct QuantityTextTests {
  @Test(
    "a size is read, and printed in the largest unit that divides it",
    arguments: [
      ("0", 0, "0"), ("1", 1, "1"), ("512B", 512, "512"), ("1024", 1024, "1KiB"), ("64KiB", 65536, "64KiB"),
      ("1536KiB", 1_572_864, "1536KiB"), ("1MiB", 1 << 20, "1MiB"), ("2048MiB", 2 << 30, "2GiB"), ("007", 7, "7"),
      ("9223372036854775807", Int.max, "9223372036854775807"), ("8589934591GiB", 8_589_934_591 << 30, "8589934591GiB"),
    ])
  func sizes(text: String, bytes: Int, printed: String) throws {
    #expect(try ByteCount(parsing: text).bytes == bytes)
    #expect(ByteCount(bytes: bytes).description == printed)
  }

  @Test(
    "what is no size is refused with a reason",
    arguments: [
      ("", "a size is a whole number of bytes, or one with KiB, MiB or GiB"),
      ("-1", "a size is a whole number of bytes, or one with KiB, MiB or GiB"),
      ("KiB", "a size is a whole number of bytes, or one with KiB, MiB or GiB"),
      ("0x10", "'x10' is not a unit of size; the units are B, KiB, MiB and GiB"),
      ("1.5MiB", "a size is a whole number; choose a smaller unit"),
      ("64KB", "'KB' is not a unit of size; write KiB (1024 bytes)"),
      ("64k", "'k' is not a unit of size; write KiB (1024 bytes)"),
      ("1MB", "'MB' is not a unit of size; write MiB (1024 KiB)"),
      ("1g", "'g' is not a unit of size; write GiB (1024 MiB)"),
      ("1 KiB", "' KiB' is not a unit of size; the units are B, KiB, MiB and GiB"),
      ("9223372036854775808", "the size is too large"), ("99999999999999999999999", "the size is too large"),
      ("8589934592GiB", "the size is too large"),
    ])
  func wrongSizes(text: String, reason: String) {
    #expect(throws: TextError(reason)) { try ByteCount(parsing: text) }
  }

  @Test("sizes never go below zero or wrap around")
  func saturation() {
    #expect(ByteCount(bytes: -1).bytes == 0)
    #expect(ByteCount.mebibytes(Int.max).bytes == Int.max && ByteCount.kibibytes(Int.min).bytes == 0)
    #expect(ByteCount.kibibytes(1) < ByteCount.mebibytes(1))
  }

  @Test(
    "a duration is read, and printed in the largest unit that divides it",
    arguments: [
      ("0s", Duration.zero, "0s"), ("250ms", .milliseconds(250), "250ms"), ("2s", .seconds(2), "2s"),
      ("5m", .seconds(300), "5m"), ("1h", .seconds(3600), "1h"), ("90s", .seconds(90), "90s"),
      ("60s", .seconds(60), "1m"), ("1500us", .microseconds(1500), "1500us"), ("1000ms", .seconds(1), "1s"),
      ("10000h", .seconds(36_000_000), "10000h"),
    ])
  func durations(text: String, duration: Duration, printed: String) throws {
    #expect(try Duration(parsing: text) == duration)
    #expect(duration.shortText == printed)
  }

  @Test(
    "what is no duration is refused with a reason",
    arguments: [
      ("", "a duration is a whole number with a unit, such as 250ms, 2s, 5m or 1h"),
      ("s", "a duration is a whole number with a unit, such as 250ms, 2s, 5m or 1h"),
      ("-1s", "a duration is a whole number with a unit, such as 250ms, 2s, 5m or 1h"),
      ("5", "it has no unit; write 5s or 5ms"),
      ("1.5s", "a duration is a whole number; choose a smaller unit"),
      ("1d", "'d' is not a unit of time; the units are us, ms, s, m and h"),
      ("1S", "'S' is not a unit of time; the units are us, ms, s, m and h"),
      ("1m30s", "'m30s' is not a unit of time; the units are us, ms, s, m and h"),
      ("10001h", "the duration is longer than 10000h"), ("36000001s", "the duration is longer than 10000h"),
      ("99999999999999999999999us", "the duration is longer than 10000h"),
    ])
  func wrongDurations(text: String, reason: String) {
    #expect(throws: TextError(reason)) { try Duration(parsing: text) }
  }

  @Test("a duration in whole nanoseconds is rounded down and never wraps around")
  func nanoseconds() {
    #expect(Duration.seconds(1).wholeNanoseconds == 1_000_000_000)
    #expect(Duration(secondsComponent: 0, attosecondsComponent: 1_999_999_999).wholeNanoseconds == 1)
    #expect(Duration.seconds(-1).wholeNanoseconds == 0 && Duration.nanoseconds(-1).wholeNanoseconds == 0)
    #expect(Duration.seconds(Int64.max).wholeNanoseconds == UInt64.max)
    #expect(Duration.seconds(Int64.max).shortText == "9223372036854775us")
  }
}
