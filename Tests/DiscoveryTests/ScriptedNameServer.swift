// A name server that says, right or wrong, what the test tells it to: over UDP and TCP on one port, on the test's own loop.

import EventLoop
import Glibc
import TestSupport

/// Writes answers, well formed or not.
struct AnswerWriter {
  var answers: [[UInt8]] = []
  var authorities: [[UInt8]] = []
  var additionals: [[UInt8]] = []
  var responseCode: UInt8 = 0
  var isTruncated = false

  static func uint16(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)] }
  static func uint32(_ value: Int) -> [UInt8] { uint16(value >> 16 & 0xFFFF) + uint16(value & 0xFFFF) }

  static func name(_ text: String) -> [UInt8] {
    text.split(separator: ".").flatMap { label -> [UInt8] in [UInt8(label.utf8.count)] + Array(label.utf8) } + [0]
  }

  static func record(_ name: [UInt8], _ type: Int, ttl: Int = 60, recordClass: Int = 1, _ data: [UInt8]) -> [UInt8] {
    var bytes = name
    bytes += uint16(type) + uint16(recordClass)
    bytes += uint32(ttl) + uint16(data.count)
    return bytes + data
  }

  static func a(_ name: String, _ a: Int, _ b: Int, _ c: Int, _ d: Int, ttl: Int = 60) -> [UInt8] {
    record(self.name(name), 1, ttl: ttl, [UInt8(a), UInt8(b), UInt8(c), UInt8(d)])
  }

  static func aaaa(_ name: String, _ last: Int, ttl: Int = 60) -> [UInt8] {
    var data = [UInt8](repeating: 0, count: 16)
    data[0] = 0xFD
    data.replaceSubrange(14..<16, with: uint16(last))
    return record(self.name(name), 28, ttl: ttl, data)
  }

  static func cname(_ name: String, _ target: String, ttl: Int = 60) -> [UInt8] {
    record(self.name(name), 5, ttl: ttl, self.name(target))
  }

  static func srv(
    _ name: String, _ target: String, port: Int, priority: Int = 0, weight: Int = 0, ttl: Int = 60
  ) -> [UInt8] {
    var data = uint16(priority) + uint16(weight)
    data += uint16(port)
    return record(self.name(name), 33, ttl: ttl, data + self.name(target))
  }

  static func soa(_ name: String, ttl: Int, minimum: Int) -> [UInt8] {
    var data = self.name("ns.\(name)") + self.name("admin.\(name)")
    for number in [1, 2, 3, 4, minimum] { data += uint32(number) }
    return record(self.name(name), 6, ttl: ttl, data)
  }

  /// The message to a question, whose bytes (behind the header) are sent back.
  func bytes(id: [UInt8] = [0, 1], question: [UInt8] = []) -> [UInt8] {
    var message: [UInt8] = id
    message += [isTruncated ? 0x83 : 0x81, 0x80 | responseCode]
    for count in [question.isEmpty ? 0 : 1, answers.count, authorities.count, additionals.count] {
      message += Self.uint16(count)
    }
    message += question
    for record in answers + authorities + additionals { message += record }
    return message
  }
}

/// The server. It ends with its last reference.
final class ScriptedNameServer {
  struct Question {
    let name: String
    let type: Int
    let isTCP: Bool
  }

  let address: LoopbackAddress
  private(set) var questions: [Question] = []
  /// Nil for no answer.
  var script: (Question) -> AnswerWriter?

  private let loop: ControlLoop
  private var descriptors: [Int32] = []

  init(_ loop: ControlLoop, port: UInt16? = nil, _ script: @escaping (Question) -> AnswerWriter?) throws {
    self.loop = loop
    self.script = script
    for _ in 0..<20 {
      let address = LoopbackAddress(port: try port ?? probablyFreePort())
      if let pair = Self.open(address) {
        self.address = address
        descriptors = pair
        loop.watch(pair[0], events: Int16(POLLIN)) { [weak self] _ in self?.datagram() }
        loop.watch(pair[1], events: Int16(POLLIN)) { [weak self] _ in self?.accept() }
        return
      }
    }
    throw HarnessError("no port is free for UDP and TCP")
  }

  deinit {
    for descriptor in descriptors {
      loop.unwatch(descriptor)
      close(descriptor)
    }
  }

  private static func open(_ address: LoopbackAddress) -> [Int32]? {
    var pair: [Int32] = []
    for kind in [SOCK_DGRAM, SOCK_STREAM] {
      let descriptor = socket(AF_INET, Int32(kind.rawValue) | 0o2_004_000, 0)
      pair.append(descriptor)
      var raw = sockaddr_in()
      raw.sin_family = sa_family_t(AF_INET)
      raw.sin_port = address.port.bigEndian
      raw.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      var yes: Int32 = 1
      setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
      let bound = withUnsafePointer(to: &raw) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, 16) }
      }
      if bound != 0 || (kind == SOCK_STREAM && listen(descriptor, 16) != 0) {
        for descriptor in pair { close(descriptor) }
        return nil
      }
    }
    return pair
  }

  private func datagram() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    var from = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let count = withUnsafeMutablePointer(to: &from) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        recvfrom(descriptors[0], &buffer, buffer.count, 0, $0, &length)
      }
    }
    guard count > 0, let answer = answer(Array(buffer[..<count]), isTCP: false) else { return }
    _ = withUnsafePointer(to: &from) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(descriptors[0], answer, answer.count, 0, $0, length)
      }
    }
  }

  private func accept() {
    let connection = Glibc.accept(descriptors[1], nil, nil)
    guard connection >= 0 else { return }
    _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
    descriptors.append(connection)
    var received: [UInt8] = []
    loop.watch(connection, events: Int16(POLLIN)) { [weak self] _ in
      guard let self else { return }
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = read(connection, &buffer, buffer.count)
      guard count > 0 else {
        loop.unwatch(connection)
        descriptors.removeAll { $0 == connection }
        close(connection)
        return
      }
      received += buffer[..<count]
      while received.count >= 2, received.count >= 2 + (Int(received[0]) << 8 | Int(received[1])) {
        let end = 2 + (Int(received[0]) << 8 | Int(received[1]))
        let answer = answer(Array(received[2..<end]), isTCP: true)
        received.removeFirst(end)
        // Loopback's buffers hold the longest message there is.
        if let answer { _ = write(connection, AnswerWriter.uint16(answer.count) + answer, answer.count + 2) }
      }
    }
  }

  private func answer(_ query: [UInt8], isTCP: Bool) -> [UInt8]? {
    var place = 12
    var labels: [String] = []
    while place < query.count, query[place] > 0 {
      let end = place + 1 + Int(query[place])
      guard end < query.count else { return nil }
      labels.append(String(decoding: query[(place + 1)..<end], as: UTF8.self))
      place = end
    }
    guard place + 5 <= query.count else { return nil }
    let type = Int(query[place + 1]) << 8 | Int(query[place + 2])
    let question = Question(name: labels.joined(separator: "."), type: type, isTCP: isTCP)
    questions.append(question)
    return script(question)?.bytes(id: Array(query[..<2]), question: Array(query[12..<(place + 5)]))
  }
}
