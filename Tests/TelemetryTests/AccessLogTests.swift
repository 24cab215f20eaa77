// The access log's way from a shard to a line: the ring under two threads, the lines under hostile bytes, the writer's file.

import Base
import FoundationEssentials
import Glibc
import Synchronization
import Testing

@testable import Telemetry

@Suite struct AccessLogTests {
  @Test("a record is a fixed-size value of 320 bytes")
  func size() {
    #expect(MemoryLayout<AccessRecord>.size <= 320)
    #expect(MemoryLayout<AccessRecord>.stride == 320)
  }

  @Test("a full ring drops and counts, and goes on when there is room")
  func fullRing() throws {
    let ring = AccessRing(capacity: 4)
    for status: UInt16 in 1...4 { try push(ring, status: status) }
    #expect(ring.reserve() == nil)
    #expect(ring.reserve() == nil)
    #expect(ring.droppedCount == 2)
    #expect(ring.front()?.pointee.status == 1)
    ring.pop()
    try push(ring, status: 5)
    for status: UInt16 in 2...5 {
      #expect(ring.front()?.pointee.status == status)
      ring.pop()
    }
    #expect(ring.front() == nil)
  }

  @Test("capacities are rounded up to powers of two", arguments: [(0, 2), (2, 2), (3, 4), (4096, 4096), (5000, 8192)])
  func capacity(asked: Int, given: Int) {
    #expect(AccessRing(capacity: asked).capacity == given)
  }

  @Test("the consumer is woken once a ring gets half full, also when it has kept up before")
  func halfFull() throws {
    let ring = AccessRing(capacity: 8)
    var woken: [Bool] = []
    for _ in 0..<6 { woken.append(try push(ring)) }
    #expect(woken == [false, false, false, true, false, false])
    while ring.front() != nil { ring.pop() }
    woken = []
    for _ in 0..<40 {
      woken.append(try push(ring))
      ring.pop()
    }
    #expect(!woken.contains(true))
    woken = []
    for _ in 0..<8 { woken.append(try push(ring)) }
    #expect(woken.count { $0 } == 1)
  }

  @Test("two threads pass a million records without losing order or counting wrong")
  func twoThreads() {
    let ring = AccessRing(capacity: 256)
    let total: UInt64 = 1_000_000
    let done = Atomic<Bool>(false)
    let producer = Worker {
      for number in 0..<total {
        if let slot = ring.reserve() {
          slot.pointee.reset()
          slot.pointee.wallTimeNanoseconds = number
          slot.pointee.bytesOut = ~number
          ring.commit()
        }
      }
      done.store(true, ordering: .releasing)
    }
    var received: UInt64 = 0
    var next: UInt64 = 0
    var broken = 0
    while true {
      let isLast = done.load(ordering: .acquiring)
      while let record = ring.front() {
        let number = record.pointee.wallTimeNanoseconds
        if number < next || record.pointee.bytesOut != ~number { broken += 1 }
        next = number + 1
        received += 1
        ring.pop()
      }
      if isLast { break }
    }
    producer.join()
    #expect(broken == 0)
    #expect(received + ring.droppedCount == total)
    #expect(ring.committedCount == received)
  }

  @Test("a JSON line says everything")
  func jsonLine() throws {
    let names = NameTable()
    let line = render(.json, sample(names), names)
    #expect(
      line == """
        {"time":"2025-11-21T03:04:05.123456Z","listener":"outbound","service":"/svc/web","peer":"10.1.2.3:5000",\
        "workload":"batch","route":"cart",\
        "endpoint":"[2001:db8::1]:80","method":"GET","host":"shop.local","path":"/cart?x=1",\
        "http_version":"1.1","status":502,\
        "duration_ms":1.5,"first_byte_ms":1.25,"bytes_in":10,"bytes_out":20,"retries":2,"code":"FL0103",\
        "trace":"00000000000000010000000000000002"}

        """)
  }

  @Test(
    "a JSON line says the version of HTTP, where there is one",
    arguments: [(10, "1.0"), (11, "1.1"), (20, "2"), (0, nil)] as [(UInt8, String?)])
  func jsonVersion(_ version: UInt8, _ text: String?) throws {
    let names = NameTable()
    var record = sample(names)
    record.httpVersion = version
    let line = render(.json, record, names)
    if let text {
      #expect(line.contains("\"http_version\":\"\(text)\""))
    } else {
      #expect(!line.contains("http_version"))
    }
  }

  @Test("a text line says the same")
  func textLine() throws {
    let names = NameTable()
    let line = render(.text, sample(names), names)
    #expect(
      line == """
        10.1.2.3:5000 - - [21/Nov/2025:03:04:05 +0000] "GET /cart?x=1 HTTP/1.1" 502 20 "shop.local" /svc/web \
        [2001:db8::1]:80 0.0015 2 FL0103 batch cart

        """)
  }

  @Test("an empty record is still a line", arguments: AccessLogFormat.allCases)
  func emptyRecord(format: AccessLogFormat) throws {
    let line = render(format, AccessRecord(), NameTable())
    #expect(line.hasSuffix("\n"))
    if format == .json { _ = try JSONDecoder().decode(Line.self, from: Data(line.utf8)) }
  }

  @Test("hostile bytes neither end a line nor break JSON", arguments: [UInt64(11), 12, 13])
  func hostileBytes(seed: UInt64) throws {
    print("seed \(seed)")
    var random = RandomSource(seed: seed)
    let names = NameTable()
    for _ in 0..<500 {
      var record = sample(names)
      let path = (0..<Int(random.next(below: 200))).map { _ in
        random.next(below: 3) == 0
          ? [0x22, 0x5C, 0x0A, 0x0D, 0x00, 0x1B, 0x7F, 0xC2, 0x9B, 0xED, 0xA0, 0xF4, 0x90][Int(random.next(below: 13))]
          : UInt8(truncatingIfNeeded: random.next())
      }
      path.withUnsafeBytes { record.setPath($0) }
      path.reversed().withUnsafeBytes { record.setHost($0) }
      path.withUnsafeBytes { record.setMethod($0) }
      let json = render(.json, record, names)
      #expect(json.utf8.count { $0 < 0x20 || $0 == 0x7F } == 1)
      let line = try JSONDecoder().decode(Line.self, from: Data(json.utf8))
      #expect(line.path == String(decoding: path.prefix(124), as: UTF8.self) || !isUTF8(path.prefix(124)))
      let text = render(.text, record, names)
      #expect(text.utf8.count { $0 < 0x20 || $0 >= 0x7F } == 1)
      #expect(text.utf8.count { $0 == 0x22 } == 4)
    }
  }

  @Test("a long path is cut, and its length is told")
  func longPath() throws {
    var record = AccessRecord()
    let path = [UInt8](repeating: 0x61, count: 100_000)
    path.withUnsafeBytes { record.setPath($0) }
    let line = try JSONDecoder().decode(Line.self, from: Data(render(.json, record, NameTable()).utf8))
    #expect(line.path.utf8.count == 124)
    #expect(line.path_bytes == 65535)
  }

  @Test(
    "times are told by the calendar",
    arguments: [
      (UInt64(0), "1970-01-01T00:00:00.000000Z"), (951_782_400, "2000-02-29T00:00:00.000000Z"),
      (1_709_164_800, "2024-02-29T00:00:00.000000Z"), (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
      (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
    ])
  func calendar(seconds: UInt64, text: String) {
    var output = TextOutput()
    appendISO8601(seconds * 1_000_000_000, &output)
    #expect(output.string == text)
  }

  @Test("names keep their numbers, and there is an end to them")
  func names() {
    let names = NameTable()
    let web = names.number(of: "web")
    #expect(names.number(of: "web") == web)
    #expect(names.name(of: web) == "web")
    #expect(names.number(of: "") == 0)
    #expect(names.name(of: 4_000_000_000) == "")
    for index in 0..<100_010 { _ = names.number(of: "n\(index)") }
    #expect(names.name(of: names.number(of: "one more")) == "other")
    #expect(names.number(of: "web") == web)
  }

  @Test("the writer appends lines, follows a rotation, and writes the rest when it stops")
  func writer() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/access.log"
    let names = NameTable()
    let rings = [AccessRing(capacity: 64), AccessRing(capacity: 64)]
    let writer = try AccessLogWriter.start(path: path, format: .json, rings: rings, names: names)
    for ring in rings { try push(ring, status: 201) }
    waitUntil { writer.statistics.written == 2 }
    #expect(rename(path, path + ".1") == 0)
    writer.reopen()
    waitUntil { access(path, F_OK) == 0 }
    for _ in 0..<10 { try push(rings[1], status: 202) }
    writer.stop()
    writer.stop()
    #expect(readFile(path + ".1").split(separator: "\n").count == 2)
    let lines = readFile(path).split(separator: "\n")
    #expect(lines.count == 10 && lines.allSatisfy { $0.contains("\"status\":202") })
    #expect(writer.statistics == AccessLogStatistics(written: 12, dropped: 0, failed: 0, errors: 0))
  }

  @Test("a full disk loses lines, counts them, and blocks nobody")
  func fullDisk() throws {
    let ring = AccessRing(capacity: 8)
    let writer = try AccessLogWriter.start(path: "/dev/full", format: .text, rings: [ring], names: NameTable())
    for _ in 0..<3 { try push(ring) }
    waitUntil { writer.statistics.failed == 3 }
    writer.stop()
    #expect(writer.statistics.written == 0)
    #expect(writer.statistics.errors > 0)
  }

  @Test("a pipe that nobody reads ends neither the start nor the end, and one that is read slowly gets every line")
  func pipes() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/log"
    mkfifo(path, 0o600)
    let ring = AccessRing(capacity: 4096)
    #expect(throws: AccessLogError.self) {
      try AccessLogWriter.start(path: path, format: .json, rings: [ring], names: NameTable())
    }
    let reader = open(path, O_RDONLY | O_NONBLOCK)
    defer { close(reader) }
    let writer = try AccessLogWriter.start(path: path, format: .json, rings: [ring], names: NameTable())
    // More than a pipe holds.
    for _ in 0..<2000 { try push(ring) }
    writer.wake()
    var bytes = [UInt8](repeating: 0, count: 4096)
    var lines: UInt64 = 0
    waitUntil {
      lines += UInt64(bytes[..<max(read(reader, &bytes, bytes.count), 0)].count { $0 == 0x0A })
      return lines >= 2000
    }
    #expect(lines == 2000)
    for _ in 0..<4000 { try push(ring) }
    writer.stop()
    #expect(writer.statistics.written + writer.statistics.failed == 6000 && writer.statistics.failed > 0)
  }

  @Test("a file that cannot be opened is told in one line, with the remedy")
  func unopenable() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/missing/access.log"
    let error = #expect(throws: AccessLogError.self) {
      _ = try AccessLogWriter.start(path: path, format: .json, rings: [], names: NameTable())
    }
    #expect(
      error?.description == "cannot open the access log \(path): No such file or directory; create its directory")
  }

  @Test("a hedge is told in JSON, beside the retries it is none of", arguments: [UInt8(0), 2, 63, 64, 255])
  func hedges(retries: UInt8) {
    let names = NameTable()
    var record = sample(names)
    record.retryCount = retries
    #expect(!render(.json, record, names).contains("hedge"))
    record.hedge = .won
    #expect(record.retryCount == min(retries, 63) && record.hedge == .won)
    #expect(render(.json, record, names).contains(",\"hedge\":\"won\""))
    record.hedge = .lost
    #expect(render(.json, record, names).contains(",\"hedge\":\"lost\""))
    record.reset()
    #expect(record.retryCount == 0 && record.hedge == .none)
  }

  // MARK: Helpers

  private struct Line: Decodable {
    var path: String
    var path_bytes: Int?
  }

  @discardableResult
  private func push(_ ring: AccessRing, status: UInt16 = 200) throws -> Bool {
    let slot = try #require(ring.reserve())
    slot.pointee.reset()
    slot.pointee.status = status
    return ring.commit()
  }

  private func sample(_ names: NameTable) -> AccessRecord {
    var record = AccessRecord()
    record.wallTimeNanoseconds = 1_763_694_245_123_456_789
    record.durationNanoseconds = 1_500_000
    record.firstByteNanoseconds = 1_250_000
    (record.bytesIn, record.bytesOut) = (10, 20)
    (record.traceHigh, record.traceLow) = (1, 2)
    record.listener = names.number(of: "outbound")
    record.service = names.number(of: "/svc/web")
    record.workload = names.number(of: "batch")
    record.route = names.number(of: "cart")
    record.peer = RecordedAddress(v4: 0x0A01_0203, port: 5000)
    let endpoint: [UInt8] = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    record.endpoint = endpoint.withUnsafeBytes { RecordedAddress(bytes: $0, port: 80) }
    (record.status, record.errorCode, record.retryCount, record.httpVersion) = (502, 103, 2, 11)
    Array("GET".utf8).withUnsafeBytes { record.setMethod($0) }
    Array("shop.local".utf8).withUnsafeBytes { record.setHost($0) }
    Array("/cart?x=1".utf8).withUnsafeBytes { record.setPath($0) }
    return record
  }

  private func render(_ format: AccessLogFormat, _ record: AccessRecord, _ names: NameTable) -> String {
    var output = TextOutput()
    format.append(record, names: names, to: &output)
    return String(decoding: output.bytes, as: UTF8.self)
  }

  private func isUTF8(_ bytes: ArraySlice<UInt8>) -> Bool { String(validating: bytes, as: UTF8.self) != nil }

  private func readFile(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    return String(decoding: bytes[..<fread(&bytes, 1, bytes.count, file)], as: UTF8.self)
  }

  /// Polls until the other thread got there; fails after ten seconds.
  private func waitUntil(_ condition: () -> Bool) {
    let deadline = MonotonicInstant.now().advanced(byNanoseconds: 10_000_000_000)
    while !condition() {
      if MonotonicInstant.now() > deadline {
        Issue.record("waited ten seconds in vain")
        return
      }
      sched_yield()
    }
  }
}

/// A directory that goes away with the test.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/fairlead-test-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { unlink(path + "/" + name) }
      }
      closedir(directory)
    }
    rmdir(path)
  }
}
