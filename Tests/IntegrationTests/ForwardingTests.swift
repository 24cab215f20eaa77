// What a good exchange looks like: heads, bodies and connections of HTTP/1.1 in every ordinary shape, through the daemon.

import TestSupport
import Testing

@Suite("Forwarding", needsDaemon)
struct ForwardingTests {
  @Test("both sides are kept alive, and the upstream connection is used again")
  func keepAlive() throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      for number in 0..<50 {
        let response = try client.get("/\(number)")
        #expect(response.status == 200)
        #expect(response.text == "GET /\(number)")
      }
      #expect(upstream.connections.count == 1)
      #expect(upstream.requests.count == 50)
    }
  }

  @Test("pipelined requests are answered in order", arguments: [2, 7, 50])
  func pipelining(_ count: Int) throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let one = { (number: Int) in "GET /\(number) HTTP/1.1\r\nHost: web\r\n\r\n" }
      try client.send((0..<count).map(one).joined())
      for number in 0..<count { #expect(try client.readResponse().text == "GET /\(number)") }
      #expect(upstream.requests.map(\.target) == (0..<count).map { "/\($0)" })
    }
  }

  @Test("pipelined requests with bodies do not run into one another")
  func pipelinedBodies() throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      try client.send(
        "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello"
          + "POST /b HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
          + "HEAD /c HTTP/1.1\r\nHost: web\r\n\r\nGET /d HTTP/1.1\r\nHost: web\r\n\r\n")
      for (method, body) in [("POST", "POST /a"), ("POST", "POST /b"), ("HEAD", ""), ("GET", "GET /d")] {
        #expect(try client.readResponse(to: method).text == body)
      }
      #expect(upstream.requests.map(\.text) == ["hello", "abc", "", ""])
    }
  }

  @Test("an empty line before a request is ignored")
  func leadingEmptyLine() throws {
    try withFairlead(.answering) { daemon, _ in
      let response = try daemon.request("\r\nGET /a HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
      #expect(response.text == "GET /a")
    }
  }

  struct Bodiless: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var method = "GET"
    var response: String
    var status: Int
  }

  @Test(
    "HEAD, 204 and 304 have no body whatever their fields say",
    arguments: [
      Bodiless(
        testDescription: "HEAD with a length", method: "HEAD", response: "200 OK\r\nContent-Length: 1000", status: 200),
      Bodiless(
        testDescription: "HEAD that is chunked", method: "HEAD", response: "200 OK\r\nTransfer-Encoding: chunked",
        status: 200),
      Bodiless(testDescription: "204", response: "204 No Content", status: 204),
      Bodiless(testDescription: "304 with a length", response: "304 Not Modified\r\nContent-Length: 1000", status: 304),
      Bodiless(testDescription: "304 without", response: "304 Not Modified\r\nETag: \"a\"", status: 304),
    ])
  func bodiless(_ test: Bodiless) throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/plain" {
          try connection.respond(to: request, body: "plain")
        } else {
          try connection.send("HTTP/1.1 \(test.response)\r\n\r\n")
        }
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      for _ in 0..<3 {
        #expect(try client.request("\(test.method) /x HTTP/1.1\r\nHost: web\r\n\r\n").status == test.status)
        #expect(try client.get("/plain").text == "plain")
      }
      #expect(upstream.connections.count == 1)
    }
  }

  @Test("a HEAD's Content-Length is passed on")
  func headLength() throws {
    let script = Script { connection in
      while try connection.readRequest() != nil {
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
      }
    }
    try withFairlead(script) { daemon, _ in
      let response = try daemon.connect().request("HEAD / HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(response["content-length"] == "1234")
    }
  }

  @Test("chunked bodies go both ways with their trailers")
  func chunkedBothWays() throws {
    let script = Script { connection in
      while try connection.readRequest() != nil {
        try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n")
        for _ in 0..<10 { try connection.send("6;note=\"a b\"\r\nhello \r\n") }
        try connection.send("0\r\nX-Sum: 60\r\nX-Other: o\r\n\r\n")
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      for _ in 0..<3 {
        try client.send("POST /up HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTrailer: x-check\r\n\r\n")
        for _ in 0..<10 { try client.send("A\r\n0123456789\r\n") }
        try client.send("0\r\nX-Check: 100\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.framing == .chunked)
        #expect(response.text == String(repeating: "hello ", count: 10))
        #expect(response.trailers.contains { $0.name.lowercased() == "x-sum" && $0.value == "60" })
      }
      let request = try #require(upstream.requests.last)
      #expect(request.text == String(repeating: "0123456789", count: 10))
      #expect(request.trailers.contains { $0.name.lowercased() == "x-check" && $0.value == "100" })
      #expect(request["content-length"] == nil)
      #expect(upstream.connections.count == 1)
    }
  }

  @Test("a chunk is passed on when it arrives, not when the body is complete")
  func chunksAreNotHeldBack() throws {
    let seen = Gate()
    let script = Script { connection in
      _ = try connection.readRequest()
      try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
      guard seen.wait() else { throw HarnessError("the first chunk was held back") }
      try connection.send("6\r\nsecond\r\n0\r\n\r\n")
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(try client.stream.take(through: "first").bytes != nil)
      seen.open()
      #expect(try client.stream.take(through: "0\r\n\r\n").bytes != nil)
      #expect(upstream.failures.isEmpty)
    }
  }

  @Test("interim responses are passed on in order")
  func interimResponses() throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        try connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        try connection.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n")
        try connection.respond(to: request, body: "done")
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      for _ in 0..<2 {
        try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        let (interim, final) = try client.readAllResponses()
        #expect(interim.map(\.status) == [103, 103])
        #expect(interim.map { $0["link"] } == ["</a.css>", "</b.css>"])
        #expect(final.text == "done")
      }
      #expect(upstream.connections.count == 1)
    }
  }

  @Test("Expect: 100-continue is the upstream's to answer")
  func expectContinue() throws {
    let script = Script { connection in
      while var request = try connection.readHead() {
        try connection.send("HTTP/1.1 100 Continue\r\n\r\n")
        try connection.stream.readBody(of: &request, closeDelimited: false)
        try connection.respond(to: request, body: request.text)
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      for _ in 0..<2 {
        try client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        let interim = try #require(try client.stream.readHead())
        #expect(interim.status == 100)
        try client.send("hello")
        #expect(try client.readResponse().text == "hello")
      }
      #expect(upstream.requests.first?["expect"]?.lowercased() == "100-continue")
    }
  }

  @Test("a refusal in place of 100 Continue ends the exchange without the body")
  func expectRefused() throws {
    let script = Script { connection in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
      connection.waitForEnd()
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      try client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 500000\r\nExpect: 100-continue\r\n\r\n")
      let response = try client.readResponse()
      #expect(response.status == 417)
      #expect(response.text == "no")
    }
  }

  @Test("a response without length runs to the upstream's close, and the client can tell its end")
  func closeDelimited() throws {
    try withFairlead(.sendingAndClosing("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")) {
      daemon, _ in
      for _ in 0..<3 {
        let client = try daemon.connect()
        try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.text == "until the end")
        #expect(response.truncated == nil)
        #expect(response.framing == .chunked || response.framing == .close)
      }
    }
  }

  @Test("an HTTP/1.0 client gets an answer it understands, and a close")
  func http10() throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/chunked" {
          try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n")
        } else {
          try connection.respond(to: request, body: "plain")
        }
      }
    }
    try withFairlead(script) { daemon, upstream in
      for (path, body) in [("/plain", "plain"), ("/chunked", "hello")] {
        let client = try daemon.connect()
        try client.send("GET \(path) HTTP/1.0\r\nHost: web\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.text == body)
        #expect(response["transfer-encoding"] == nil)
        try expectClosed(client)
      }
      #expect(upstream.requests.allSatisfy { $0.startLine.hasSuffix("HTTP/1.1") })
    }
  }

  @Test("an HTTP/1.0 client that asks for keep-alive gets it, or a clean close")
  func http10KeepAlive() throws {
    try withFairlead(.answering) { daemon, _ in
      let client = try daemon.connect()
      let response = try client.request("GET /a HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n\r\n")
      #expect(response.text == "GET /a")
      if response["connection"]?.lowercased() == "keep-alive" {
        #expect(try client.request("GET /b HTTP/1.0\r\nHost: web\r\n\r\n").text == "GET /b")
      }
      try expectClosed(client)
    }
  }

  @Test("Connection: close ends the connection after its answer", arguments: ["close", "Close", "x-a, close"])
  func connectionClose(_ value: String) throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.request("GET /a HTTP/1.1\r\nHost: web\r\nConnection: \(value)\r\n\r\n")
      #expect(response.text == "GET /a")
      #expect(response["connection"]?.lowercased() == "close")
      try expectClosed(client)
      // What the client wants for its connection is nothing to the upstream's.
      #expect(try daemon.get("/b")["x-upstream-connection"] == "0")
      #expect(upstream.connections.count == 1)
    }
  }

  @Test("fields that belong to one connection are not passed on, in either direction")
  func hopByHop() throws {
    let fields =
      "Connection: x-named, keep-alive\r\nX-Named: hop\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
    let script = Script { connection in
      while let request = try connection.readRequest() {
        try connection.respond(
          to: request, fields: fields + "X-Kept: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n", body: "")
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.request(
        "GET / HTTP/1.1\r\nHost: web\r\n\(fields)TE: gzip\r\nX-Kept: 1\r\nX-Kept: 1b\r\nUpgrade: h2c\r\n\r\n")
      let request = try #require(upstream.requests.first)
      for message in [request, response] {
        for name in ["x-named", "keep-alive", "proxy-connection"] {
          #expect(message[name] == nil, "\(name) in \(message.head)")
        }
        #expect(message["via"]?.contains("test-node") == true, "\(message.head)")
      }
      #expect(request["te"] == nil)
      #expect(request.values("x-kept") == ["1", "1b"])
      #expect(request.values("host") == ["web"])
      #expect(response["x-kept"] == "2")
      #expect(response.values("set-cookie") == ["a=1", "b=2"])
    }
  }

  @Test("l5d- fields of an untrusted client do not reach the upstream")
  func internalFields() throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      _ = try client.request(
        "GET / HTTP/1.1\r\nHost: web\r\nl5d-dtab: /svc => /#/static/other\r\nL5d-Ctx-Trace: abc\r\n\r\n")
      let request = try #require(upstream.requests.first)
      #expect(!request.fields.contains { $0.name.lowercased().hasPrefix("l5d-") }, "\(request.head)")
    }
  }

  @Test("W3C trace context is passed on, or started")
  func traceContext() throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let trace = "0af7651916cd43dd8448eb211c80319c"
      _ = try client.request("GET / HTTP/1.1\r\nHost: web\r\ntraceparent: 00-\(trace)-b7ad6b7169203331-01\r\n\r\n")
      _ = try client.get("/")
      #expect(upstream.requests.first?["traceparent"]?.contains(trace) == true)
      #expect(upstream.requests.last?["traceparent"]?.wholeMatch(of: /00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/) != nil)
    }
  }

  @Test("an absolute-form target names its host")
  func absoluteForm() throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.request("GET http://web/abs?q=1 HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
      #expect(response.status == 200)
      let request = try #require(upstream.requests.first)
      #expect(request.target.hasSuffix("/abs?q=1"))
      #expect(request["host"] == "web")
    }
  }

  @Test("a Host with a port and capitals names the same service")
  func hostWithPort() throws {
    try withFairlead(.answering) { daemon, _ in
      for host in ["web:8080", "WEB"] {
        let response = try daemon.get("/", host: host)
        #expect(response.status == 200)
      }
    }
  }

  @Test("a client that shuts its write side down still gets its response")
  func halfClose() throws {
    let shut = Gate()
    let script = Script { connection in
      guard let request = try connection.readRequest() else { return }
      shut.wait()
      try connection.respond(to: request, body: "late, but here")
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      client.shutdownWrite()
      shut.open()
      #expect(try client.readResponse().text == "late, but here")
      try expectClosed(client)
    }
  }

  @Test("a response that comes before the request's body has ended is passed on")
  func earlyResponse() throws {
    let script = Script { connection in
      while let request = try connection.readHead() {
        if request.target == "/early" {
          try connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly")
          connection.waitForEnd()
          return
        }
        try connection.respond(to: request, body: "ok")
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      try client.send("POST /early HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\npart of it")
      let response = try client.readResponse()
      #expect(response.status == 413)
      #expect(response.text == "early")
      // The rest of the body must never be taken for a request: the connection ends or swallows it.
      client.sendRegardless(Array("GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n".utf8))
      #expect(try daemon.get("/after").status == 200)
      #expect(upstream.requests.map(\.target) == ["/early", "/after"])
    }
  }

  @Test("different methods and odd but legal heads go through")
  func oddButLegal() throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH"] {
        #expect(try client.request("\(method) /x HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n").status == 200)
      }
      #expect(try client.request("OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n").status == 200)
      let odd = try client.request(
        "GET /a%20b?x=[1]|{2} HTTP/1.1\r\nhOsT:web\r\nX-Empty:\r\nX-Spaces:  \t a b \t \r\nX-High: \u{e9}\r\nX-Comma: ,,\r\n\r\n"
      )
      #expect(odd.status == 200)
      let request = try #require(upstream.requests.last)
      #expect(request.target == "/a%20b?x=[1]|{2}")
      #expect(request["x-empty"]?.isEmpty == true)
      #expect(request["x-spaces"] == "a b")
      #expect(request["x-high"] == "\u{e9}")
    }
  }

  @Test("a head and a body split at any byte arrive the same", arguments: [1, 2, 3, 17])
  func splitAnywhere(_ step: Int) throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let bytes = Array(
        ("POST /split HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n"
          + "POST /length HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nbody").utf8)
      for start in stride(from: 0, to: bytes.count, by: step) {
        try client.send(bytes[start..<min(start + step, bytes.count)])
      }
      #expect(try client.readResponse().text == "POST /split")
      #expect(try client.readResponse().text == "POST /length")
      #expect(upstream.requests.map(\.text) == ["helloabc", "body"])
    }
  }
}
