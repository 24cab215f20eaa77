// The harness itself, tried without the daemon: a check that can only pass is worth nothing, so the client and the
// scripted server are first shown to agree with each other and with a real nginx and a real curl.

import Glibc
import TestSupport
import Testing

@Suite("The harness")
struct HarnessTests {
  @Test("a raw client and a scripted upstream exchange lengths, chunks and trailers")
  func directExchange() throws {
    let upstream = try ScriptedUpstream { connection in
      _ = try connection.readRequest()
      try connection.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
      try connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
      try connection.send("5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 11\r\n\r\n")
      _ = try connection.readRequest()
      try connection.send("HTTP/1.1 204 No Content\r\n\r\n")
    }
    let client = try RawClient(upstream.address)
    try client.send("POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    let (interim, response) = try client.readAllResponses()
    #expect(interim.map(\.status) == [103])
    #expect(response.text == "hello world")
    #expect(response.chunkSizes == [5, 6, 0])
    #expect(response.trailers.map(\.value) == ["11"])
    #expect(try client.get("/b").status == 204)
    #expect(upstream.requests.map(\.text) == ["abc", ""])
    client.close()
    upstream.stop()
    #expect(upstream.failures.isEmpty)
  }

  @Test("a truncated body, a reset and silence are told apart")
  func endings() throws {
    let truncating = try ScriptedUpstream(.sendingAndClosing("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"))
    #expect(try RawClient(truncating.address).get().truncated == .endOfStream)

    let resetting = try ScriptedUpstream { connection in
      _ = try connection.readRequest()
      connection.reset()
    }
    let reset = try RawClient(resetting.address)
    try reset.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    #expect(try reset.readToEnd().ending == .reset)

    let silent = try ScriptedUpstream(.silent)
    let waiting = try RawClient(silent.address)
    try waiting.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    #expect(try waiting.readToEnd(seconds: 0.05).ending == .timedOut)
  }

  @Test("a client that does not read makes the upstream stall")
  func stall() throws {
    let sent = Monitor<Int?>(nil)
    let upstream = try ScriptedUpstream { connection in
      _ = try connection.readRequest()
      let count = try connection.stream.sendUnlessStalled(Pattern.bytes(0, 32 << 20), stallSeconds: 0.3)
      sent.with { $0 = count }
    }
    let client = try RawClient(upstream.address, receiveBufferBytes: 8 * 1024)
    try client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    #expect(sent.wait { $0 != nil })
    let count = try #require(sent.with { $0 })
    #expect(count < 32 << 20)
    var check = Pattern.Check()
    #expect(try client.stream.drain(count) { check.feed($0) } == count)
    #expect(check.isGood)
  }

  @Test("a real nginx and a real curl understand the harness", .enabled(if: NginxProcess.isInstalled, "needs nginx"))
  func realPeers() throws {
    let nginx = try NginxProcess(locations: "location / { return 200 \"from nginx\\n\"; }")
    #expect(try RawClient(nginx.address).get("/x").text == "from nginx\n")

    guard findTool("curl") != nil else { try Test.cancel("needs curl") }
    let upstream = try ScriptedUpstream(.answering(with: "from the script"))
    let result = try Child.run(["curl", "-sS", "-d", "body", "http://\(upstream.address)/p"])
    #expect(result.status == Child.ExitStatus.exited(0))
    #expect(result.output == "from the script")
    #expect(upstream.requests.first?.text == "body")
  }

  @Test("a child is ended by its id and its output is kept")
  func children() throws {
    #expect(try Child.run(["sh", "-c", "echo out; echo err >&2; exit 7"]).status == Child.ExitStatus.exited(7))
    let directory = try TemporaryDirectory()
    let child = try Child(["sh", "-c", "echo started; exec sleep 600"], directory: directory, name: "sleeper")
    #expect(eventually { child.standardOutput == "started\n" })
    #expect(child.stop() == Child.ExitStatus.signalled(SIGTERM))
  }

  @Test("allocations are counted by thread")
  func allocationCounter() throws {
    let directory = try TemporaryDirectory()
    guard let counter = try AllocationCounter(source: ResourceTests.counterSource, directory: directory) else {
      try Test.cancel("needs a C compiler")
    }
    #expect(counter.byThread.isEmpty)
    #expect(try Child.run(["ls", "/"], environment: counter.environment).status == Child.ExitStatus.exited(0))
    #expect(counter.byThread["ls"] ?? 0 > 5, "\(counter.byThread)")
  }

  @Test("Prometheus text is read with its labels")
  func metricsText() {
    let metrics = Metrics(
      """
      # TYPE fairlead_errors_total counter
      fairlead_errors_total{code="FL1001"} 3
      fairlead_errors_total{code="FL1002"} 0
      fairlead_requests_total{listener="outbound",service="/svc/web",status_class="2xx"} 17
      """)
    #expect(metrics.errorsByCode == ["FL1001": 3])
    #expect(metrics.sum("fairlead_requests_total", ["service": "/svc/web"]) == 17)
  }
}
