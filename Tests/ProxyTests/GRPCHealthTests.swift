// The messages of gRPC's health checks, byte by byte. Whole calls are made against real servers, in Tests/Conformance.

import HTTP
import Testing

@testable import Proxy

@Suite("gRPC health calls")
struct GRPCHealthTests {
  @Test("a request names a service, or nothing for the server as a whole")
  func requests() {
    #expect(HealthMessage.request(service: "") == [0, 0, 0, 0, 0])
    #expect(HealthMessage.request(service: "a.B") == [0, 0, 0, 0, 5, 0x0A, 3, 0x61, 0x2E, 0x42])
    let long = HealthMessage.request(service: String(repeating: "x", count: 200))
    #expect(long.prefix(8) == [0, 0, 0, 0, 203, 0x0A, 0xC8, 0x01] && long.count == 208)
  }

  @Test(
    "an answer is SERVING, or says what else, or is none",
    arguments: [
      ([0, 0, 0, 0, 2, 0x08, 1], nil),
      ([0, 0, 0, 0, 4, 0x08, 2, 0x08, 1], nil),
      ([0, 0, 0, 0, 7, 0x12, 3, 1, 2, 3, 0x08, 1], nil),
      ([0, 0, 0, 0, 7, 0x1D, 1, 2, 3, 4, 0x08, 1], nil),
      ([0, 0, 0, 0, 11, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x08, 1], nil),
      ([0, 0, 0, 0, 0], .notServing(0)),
      ([0, 0, 0, 0, 2, 0x08, 2], .notServing(2)),
      ([0, 0, 0, 0, 2, 0x10, 1], .notServing(0)),
      ([0, 0, 0, 0, 3, 0x08, 0x81, 0x01], .notServing(129)),
      ([], .garbage), ([0, 0, 0, 0], .garbage), ([1, 0, 0, 0, 2, 0x08, 1], .garbage),
      ([0, 0, 0, 0, 3, 0x08, 1], .garbage), ([0, 0, 0, 0, 1, 0x08, 1], .garbage),
      ([0, 255, 255, 255, 255], .garbage), ([0, 0, 0, 0, 1, 0x08], .garbage),
      ([0, 0, 0, 0, 2, 0x12, 200], .garbage), ([0, 0, 0, 0, 2, 0x0B, 1], .garbage),
      ([0, 0, 0, 0, 12, 0x08] + [UInt8](repeating: 0xFF, count: 11), .garbage),
      ([0, 0, 0, 0, 3, 0x1D, 1, 2], .garbage),
    ] as [([UInt8], CheckFailure?)])
  func answers(_ bytes: [UInt8], _ expected: CheckFailure?) {
    switch HealthMessage.verdict(bytes) {
    case .success: #expect(expected == nil)
    case .failure(let failure): #expect(failure == expected)
    }
  }

  @Test("what comes in pieces is taken together, and what never ends is no answer")
  func pieces() throws {
    let client = try #require(GRPCHealthClient(calls: 2))
    let call = try #require(GRPCHealthCall(service: "a.B", authority: "web", timeout: .seconds(1), client))
    let sent = call.takeOutput()
    #expect(sent.starts(with: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8))
    #expect(sent.suffix(10) == HealthMessage.request(service: "a.B")[...])
    // SETTINGS · HEADERS with `:status: 200` (8 of the static table) · DATA · HEADERS with a literal grpc-status.
    let trailers = [0x00, 11] + Array("grpc-status".utf8) + [1, 0x30]
    let answer: [UInt8] =
      [0, 0, 0, 4, 0, 0, 0, 0, 0]
      + [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88]
      + [0, 0, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0x08, 1]
      + [0, 0, UInt8(trailers.count), 1, 5, 0, 0, 0, 1] + trailers
    for byte in answer {
      #expect(call.verdict == nil)
      withUnsafeBytes(of: byte) { call.receive($0) }
      _ = call.takeOutput()
    }
    guard case .success = call.verdict else {
      Issue.record("\(String(describing: call.verdict))")
      return
    }
    call.end()
    #expect(!call.takeOutput().isEmpty)

    let other = try #require(GRPCHealthCall(service: "", authority: "web", timeout: .seconds(1), client))
    _ = other.takeOutput()
    Array("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".utf8).withUnsafeBytes { other.receive($0) }
    _ = other.takeOutput()
    guard case .failure(.garbage) = other.verdict else {
      Issue.record("\(String(describing: other.verdict))")
      return
    }
  }
}
