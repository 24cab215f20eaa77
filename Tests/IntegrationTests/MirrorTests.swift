// Copies of requests: they are whole, they go where the rule says, and whatever becomes of them, the original does not notice.

import TestSupport
import Testing

@Suite("Mirroring", needsDaemon)
struct MirrorTests {
  static let rule = "  - { match: {}, to: /svc/cart, mirror: { to: /svc/shadow, percent: 100 } }"

  private func outcome(_ daemon: FairleadProcess, _ name: String) throws -> Double {
    try daemon.admin.value("fairlead_mirrors_total{outcome=\"\(name)\"}") ?? 0
  }

  @Test("a copy has the same head and body, however the body is framed")
  func copies() throws {
    let services = try RoutedServices(Self.rule)
    try services.run { daemon in
      let client = try daemon.connect()
      for request in [
        "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
      ] {
        try client.send(request)
        #expect(try client.readResponse(to: String(request.prefix { $0 != " " })).status == 200)
      }
      #expect(eventually { services.shadow.requests.count == 4 })
      for (original, copy) in zip(
        services.cart.requests.sorted { $0.target < $1.target },
        services.shadow.requests.sorted { $0.target < $1.target })
      {
        #expect(original.head == copy.head && original.body == copy.body)
        #expect(original.trailers.map(\.value) == copy.trailers.map(\.value))
      }
      #expect(try eventually { try outcome(daemon, "answered") == 4 })
      // A copy is no request of a client's.
      #expect(try daemon.admin.metrics().sum("fairlead_requests_total") == 4)
    }
  }

  @Test("body that comes in pieces is gathered; the copy goes out when it is whole")
  func pieces() throws {
    let services = try RoutedServices(Self.rule)
    try services.run { daemon in
      let client = try daemon.connect()
      try client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
      #expect(services.cart.wait { $0.first.map { $0.receivedText.hasSuffix("abc") } ?? false })
      #expect(services.shadow.connections.isEmpty)
      try client.send("def")
      #expect(try client.readResponse().text == "cart")
      #expect(eventually { services.shadow.requests.map(\.text) == ["abcdef"] })
    }
  }

  @Test("a body that is too long is not copied, and reaches its endpoint whole")
  func longBodies() throws {
    let services = try RoutedServices(Self.rule)
    try services.run { daemon in
      let client = try daemon.connect()
      let body = String(repeating: "x", count: 200_000)
      try client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n\(body)")
      #expect(try client.readResponse().text == "cart")
      let chunks = String(repeating: "8000\r\n\(body.prefix(0x8000))\r\n", count: 6)
      try client.send("POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\(chunks)0\r\n\r\n")
      #expect(try client.readResponse().text == "cart")
      #expect(services.cart.requests.map(\.body.count) == [200_000, 6 * 0x8000])
      #expect(try outcome(daemon, "body") == 2)
      #expect(services.shadow.requests.isEmpty)
    }
  }

  struct Shadow: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var script: Script
    var outcome: String?
  }

  @Test(
    "whatever the other side does, the original is answered",
    arguments: [
      Shadow(testDescription: "silent", script: .silent),
      Shadow(testDescription: "closing", script: .sendingAndClosing(""), outcome: "failed"),
      Shadow(testDescription: "talking nonsense", script: .sendingAndClosing("hello?\r\n\r\n"), outcome: "failed"),
      Shadow(
        testDescription: "switching protocols", script: .sending("HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n"),
        outcome: "failed"),
      Shadow(
        testDescription: "saying a lot",
        script: .answering(with: String(repeating: "y", count: 3_000_000)), outcome: "answered"),
    ])
  func others(_ shadow: Shadow) throws {
    let services = try RoutedServices(Self.rule, shadow: shadow.script)
    try services.run { daemon in
      let client = try daemon.connect()
      for number in 0..<20 { #expect(try client.get("/\(number)", host: "x").text == "cart") }
      if let name = shadow.outcome { #expect(try eventually { try outcome(daemon, name) == 20 }) }
      #expect(services.cart.requests.count == 20)
    }
  }

  @Test("without an endpoint, and with an original that breaks off, there is no copy")
  func absent() throws {
    var services = try RoutedServices(Self.rule)
    services.options.services["shadow"] = []
    try services.run { daemon in
      let client = try daemon.connect()
      #expect(try client.get("/", host: "x").text == "cart")
      #expect(try outcome(daemon, "failed") == 1)
      try client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
      #expect(services.cart.wait { $0.contains { $0.receivedText.hasSuffix("abc") } })
      client.close()
      #expect(try eventually { try outcome(daemon, "unfinished") == 1 })
    }
  }
}
