// The admin server over real sockets: paths, methods, keep-alive, crowds, and clients that misbehave.

import Base
import Glibc
import Synchronization
import Telemetry
import Testing

@testable import Admin

@Suite struct AdminServerTests {
  @Test("curl reads every path", .enabled(if: curl != nil, "curl is not installed"))
  func curlReads() throws {
    let server = try RunningServer()
    server.node.registry.counter("x_total", help: "X.").cell(shard: 0).add(5)
    func get(_ path: String, _ options: String = "") -> String {
      shell("curl -sS --max-time 20 \(options) --unix-socket \(server.path) 'http://fairlead\(path)'").output
    }
    #expect(get("/").contains("/endpoints"))
    #expect(get("/ready") == "ready\n")
    #expect(get("/live") == "live\n")
    #expect(get("/status").contains("\"liburing\": \"2.3\""))
    #expect(get("/config") == "{\"node\": {}}\n")
    #expect(get("/endpoints").contains("\"endpoints\": []"))
    #expect(get("/services").contains("\"services\": []"))
    #expect(get("/workloads").contains("\"workloads\": []"))
    #expect(get("/connections?limit=3").contains("\"total\": 0"))
    #expect(get("/metrics").contains("x_total 5"))
    #expect(get("/metrics", "-H 'Accept: application/openmetrics-text'").hasSuffix("# EOF\n"))
    #expect(get("/metrics.json").contains("\"x\": 5"))
    #expect(get("/logging") == "info\n")
    #expect(get("/logging?level=debug", "-X POST") == "debug\n")
    #expect(server.node.logLevel == .debug)
    #expect(get("/status", "-I").contains("content-type: application/json"))
  }

  @Test("not ready is 503 with the reason")
  func notReady() throws {
    let server = try RunningServer()
    server.node.set { $0.ready = .failing("draining") }
    let answer = try exchange(server, "GET", "/ready")
    #expect(answer.head.hasPrefix("HTTP/1.1 503 "))
    #expect(answer.body == "not ready: draining\n")
    #expect(try exchange(server, "GET", "/live").head.hasPrefix("HTTP/1.1 200 "))
  }

  @Test(
    "methods and paths",
    arguments: [
      ("GET", "/nowhere", 404, "/ lists what there is"),
      ("GET", "/metric", 404, "did you mean /metrics or /metrics.json?"),
      ("GET", "/endpoint", 404, "/endpoints"), ("GET", "/drain", 405, "use POST"), ("POST", "/status", 405, "use GET"),
      ("PUT", "/logging", 405, "GET, HEAD, POST"), ("GET", "/logging?level=debug", 405, "use POST"),
      ("DELETE", "/", 405, "GET, HEAD"),
      ("POST", "/logging", 400, "error, warning, info, debug, trace"), ("POST", "/logging?level=loud", 400, "level is"),
      ("GET", "/connections?limit=x", 400, "limit is a number"), ("GET", "/connections?limit=-1", 400, "limit"),
      ("POST", "/drain", 202, "draining"),
    ])
  func methods(method: String, target: String, status: Int, words: String) throws {
    let server = try RunningServer()
    let answer = try exchange(server, method, target)
    #expect(answer.head.hasPrefix("HTTP/1.1 \(status) "), "\(answer.head)")
    #expect(answer.body.contains(words), "\(answer.body)")
    #expect(answer.head.contains("allow: ") == (status == 405))
  }

  @Test("what clients do not read has a bound, and who reads is answered again")
  func unread() throws {
    var limits = AdminLimits()
    limits.unreadBytes = 4 << 20
    let server = try RunningServer(limits: limits)
    // More than a socket takes.
    server.node.set { $0.configuration = String(repeating: "x", count: 1 << 20) }
    var lazy = try (0..<8).map { _ in try RawClient(server) }
    for client in lazy {
      client.send("GET /config HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(client.receive(upTo: 12) != nil)
    }
    let refused = try exchange(server, "GET", "/config")
    #expect(refused.head.hasPrefix("HTTP/1.1 503 ") && refused.body.contains("have not read"))
    #expect(try exchange(server, "GET", "/ready").head.hasPrefix("HTTP/1.1 200 "))
    lazy = []
    waitUntil { (try? exchange(server, "GET", "/config").head.hasPrefix("HTTP/1.1 200 ")) == true }
  }

  @Test("HEAD has the length of the body and not the body")
  func head() throws {
    let server = try RunningServer()
    let client = try RawClient(server)
    client.send("HEAD /config HTTP/1.1\r\nHost: a\r\n\r\nGET /config HTTP/1.1\r\nHost: a\r\n\r\n")
    let head = client.receiveAnswer(hasBody: false)
    #expect(head.head.contains("content-length: 13\r\n"))
    #expect(client.receiveAnswer().body == "{\"node\": {}}\n")
  }

  @Test("a connection is kept, and pipelined requests are answered in order, also after the client's end")
  func pipelining() throws {
    let server = try RunningServer()
    let client = try RawClient(server)
    client.send(
      "GET /ready HTTP/1.1\r\nHost: a\r\n\r\nPOST /logging?level=error HTTP/1.1\r\nHost: a\r\ncontent-length: 2\r\n\r\nxy"
    )
    #expect(client.receiveAnswer().body == "ready\n")
    #expect(client.receiveAnswer().body == "error\n")
    client.send("GET /live HTTP/1.1\r\nHost: a\r\n\r\nGET /logging HTTP/1.1\r\nHost: a\r\n\r\n")
    client.endSending()
    let rest = client.receiveAll()
    #expect(rest.contains("live\n") && rest.hasSuffix("error\n"))
  }

  @Test("a request may come byte by byte")
  func byteByByte() throws {
    let server = try RunningServer()
    let client = try RawClient(server)
    for byte in "POST /logging?level=warning HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab".unicodeScalars {
      client.send(String(byte))
    }
    #expect(client.receiveAnswer().body == "warning\n")
  }

  @Test("a refused request is answered, and the connection ends")
  func refusals() throws {
    let server = try RunningServer()
    let client = try RawClient(server)
    client.send("nonsense\r\n\r\nGET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
    let answer = client.receiveAll()
    #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains("connection: close"))
    #expect(!answer.contains("ready\n"))
  }

  @Test("a client that does not read its answer keeps nobody waiting, and gets it whole when it does")
  func slowReader() throws {
    let server = try RunningServer()
    let large = 16 << 20
    server.node.set { $0.configuration = String(repeating: "x", count: large) }
    let slow = try RawClient(server)
    slow.send("GET /config HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for _ in 0..<20 { #expect(try exchange(server, "GET", "/ready").body == "ready\n") }
    let answer = slow.receiveAll()
    #expect(answer.hasPrefix("HTTP/1.1 200 "))
    let body = answer.split(separator: "\r\n\r\n", maxSplits: 1).last ?? ""
    #expect(body.utf8.count == large + 1 && body.hasSuffix("x\n"))
  }

  @Test("a client that never takes its answer is cut off")
  func neverReads() throws {
    var limits = AdminLimits()
    limits.timeoutNanoseconds = 100_000_000
    let server = try RunningServer(limits: limits)
    server.node.set { $0.configuration = String(repeating: "x", count: 16 << 20) }
    let client = try RawClient(server)
    client.send("GET /config HTTP/1.1\r\nHost: a\r\n\r\n")
    waitUntil { server.clientCount() == 1 }
    waitUntil { server.clientCount() == 0 }
    #expect(client.receiveAll().utf8.count < 16 << 20)
  }

  @Test("an idle connection is closed, an unfinished request is told why")
  func timeouts() throws {
    var limits = AdminLimits()
    limits.timeoutNanoseconds = 100_000_000
    let server = try RunningServer(limits: limits)
    let idle = try RawClient(server)
    let unfinished = try RawClient(server)
    unfinished.send("GET /ready HTTP/1.1\r\n")
    #expect(idle.receiveAll() == "")
    #expect(unfinished.receiveAll().hasPrefix("HTTP/1.1 408 "))
  }

  @Test("the 65th client is turned away with 503, and there is room again when one leaves")
  func crowd() throws {
    let server = try RunningServer()
    var clients = try (0..<64).map { _ in try RawClient(server) }
    waitUntil { server.clientCount() == 64 }
    let last = try RawClient(server)
    last.send("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(last.receiveAll().hasPrefix("HTTP/1.1 503 "))
    clients.removeLast()
    waitUntil { server.clientCount() == 63 }
    #expect(try exchange(server, "GET", "/ready").body == "ready\n")
    clients[0].send("GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(clients[0].receiveAnswer().body == "live\n")
  }

  @Test("eight clients at once get all their answers")
  func concurrency() throws {
    let server = try RunningServer()
    let good = Atomic<Int>(0)
    let workers = (0..<8).map { _ in
      Worker {
        guard let client = try? RawClient(server) else { return }
        for _ in 0..<100 {
          client.send("GET /status HTTP/1.1\r\nHost: a\r\n\r\n")
          if client.receiveAnswer().body.contains("node-a") { good.wrappingAdd(1, ordering: .relaxed) }
        }
      }
    }
    for worker in workers { worker.join() }
    #expect(good.load(ordering: .relaxed) == 800)
  }

  @Test("shards that do not answer give 503, and a late answer reaches nobody else")
  func silentShards() throws {
    var limits = AdminLimits()
    limits.replyTimeoutNanoseconds = 100_000_000
    let server = try RunningServer(limits: limits)
    server.node.set {
      $0.holds = true
      $0.live = .failing("a late answer")
    }
    let client = try RawClient(server)
    client.send("GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
    let answer = client.receiveAnswer()
    #expect(answer.head.hasPrefix("HTTP/1.1 503 ") && answer.body.contains("did not answer in time"))
    // A client that leaves while its answer is awaited, and one that takes its place and perhaps its descriptor.
    var leaving: RawClient? = try RawClient(server)
    leaving?.send("GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
    waitUntil { server.node.get(\.held).count == 2 }
    leaving = nil
    waitUntil { server.clientCount() == 1 }
    let next = try RawClient(server)
    next.send("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
    waitUntil { server.node.get(\.held).count == 3 }
    server.node.release()
    #expect(next.receiveAnswer().body == "ready\n")
    server.node.set { $0.holds = false }
    client.send("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(client.receiveAnswer().body == "ready\n")
  }

  @Test("shutdown happens after its answer went out")
  func shutdownAnswer() throws {
    let server = try RunningServer()
    let answer = try exchange(server, "POST", "/shutdown")
    #expect(answer.body == "shutting down\n")
    waitUntil { server.node.get(\.shutdowns) == 1 }
  }

  @Test("the TCP address is for reading")
  func readOnly() throws {
    let server = try RunningServer(tcp: true)
    let address = try #require(server.readOnlyAddress)
    #expect(address.port != 0)
    let client = try RawClient(address)
    client.send("GET /ready HTTP/1.1\r\nHost: a\r\n\r\nPOST /drain HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(client.receiveAnswer().body == "ready\n")
    let refusal = client.receiveAnswer()
    #expect(refusal.head.hasPrefix("HTTP/1.1 403 ") && refusal.body.contains("Unix socket"))
    #expect(server.node.get(\.drains) == 0)
  }

  private func exchange(_ server: RunningServer, _ method: String, _ target: String) throws -> (
    head: String, body: String
  ) {
    let client = try RawClient(server)
    client.send("\(method) \(target) HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    return client.receiveAnswer()
  }
}
