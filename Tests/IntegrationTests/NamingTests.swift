// From what a request is called to the service it reaches: delegations that are trees, identifiers, and what requests bring
// along themselves.

import Glibc
import TestSupport
import Testing

@Suite("Naming", needsDaemon)
struct NamingTests {
  /// Services `a` and `b`, whose endpoints answer with their names and what they were asked for, and `empty`.
  private func withTwo(
    _ delegations: String, identifiers: String = "", listener: String = "", shards: Int = 1,
    _ body: (FairleadProcess, ScriptedUpstream, ScriptedUpstream) throws -> Void
  ) throws {
    let script = { (name: String) in
      Script { connection in
        while let request = try connection.readRequest() {
          try connection.respond(to: request, body: "\(name) \(request.method) \(request.target) \(request.text)")
        }
      }
    }
    let (a, b) = (try ScriptedUpstream(script("a")), try ScriptedUpstream(script("b")))
    var options = FairleadOptions()
    options.services = ["a": ["\(a.address)"], "b": ["\(b.address)"], "empty": []]
    options.delegations = delegations.split(separator: "\n").map(String.init)
    options.shards = shards
    options.listener = listener
    if !identifiers.isEmpty { options.extra = "identifiers: \(identifiers)" }
    try withFairlead(options, upstreams: [a, b]) { try body($0, a, b) }
  }

  // MARK: Trees

  @Test("requests part by weight, on one connection and on every shard")
  func weights() throws {
    try withTwo("/svc/none => ~ ;\n/svc/web => 3 * /#/static/a & /#/static/b & 7 * /svc/none ;", shards: 2) {
      daemon, a, b in
      let clients = try (0..<4).map { _ in try daemon.connect() }
      for number in 0..<1000 {
        #expect(try clients[number % 4].get("/").status == 200)
      }
      let (ofA, ofB) = (a.requests.count, b.requests.count)
      // Six standard deviations of a binomial with 1000 draws and a probability of 3/4.
      #expect(ofA + ofB == 1000 && abs(ofA - 750) <= 83, "\(ofA) and \(ofB)")
    }
  }

  @Test(
    "a second choice serves where the first does not exist, or is empty and the entry says so",
    arguments: [
      ("/svc/none | /#/static/b", "b"), ("/#/static/a | /#/static/b", "a"), ("/#/static/empty |! /#/static/b", "b"),
      ("/svc/none |! /#/static/empty |! /#/static/b", "b"), ("$ |! /#/static/b", "b"), ("~ | /#/static/b", "b"),
      ("/#/static/empty | /#/static/b", "FL2201"), ("$", "FL2201"), ("! | /#/static/b", "FL2007"),
      ("/#/static/empty |! !", "FL2007"), ("~", "FL2003"), ("/#/static/empty & $", "FL2201"),
    ])
  func alternatives(right: String, expected: String) throws {
    try withTwo("/svc/none => ~ ;\n/svc/web => \(right) ;") { daemon, _, _ in
      for _ in 0..<3 {
        let response = try daemon.get()
        if expected.hasPrefix("FL") {
          try expectProxyMade(response, [404, 503], by: daemon)
          #expect(response["fairlead-code"] == expected)
        } else {
          #expect(response.text.hasPrefix("\(expected) "))
        }
      }
    }
  }

  @Test("a service whose endpoint is dead is passed by while the stand-in serves, and serves again when it is back")
  func deadEndpoint() throws {
    let upstream = try ScriptedUpstream(.answering(with: "stand-in"))
    let dead = try ScriptedUpstream(.answering)
    dead.stop()
    var options = FairleadOptions()
    options.services = ["a": ["\(dead.address)"], "b": ["\(upstream.address)"]]
    options.delegations = ["/svc/web => /#/static/a |! /#/static/b ;"]
    try withFairlead(options, upstreams: [upstream]) { daemon in
      // The one that finds out fails: it was on its way already. The probes fail as well, and get fewer.
      var served = 0
      for _ in 0..<200 where served < 20 {
        if try daemon.get().text == "stand-in" { served += 1 }
      }
      #expect(served == 20)
    }
  }

  @Test("segments that a star matched are used, and a host's port is split off")
  func captures() throws {
    let delegations = """
      /svc/* => /#/static/{1} ;
      /n/web => /#/static/b ;
      /svc/ported => /#/static/a ;
      /svc => /#/static | /#/rewrite/hostport/n ;
      """
    try withTwo(delegations, identifiers: "[{kind: host, port: true}]") { (daemon, _, _) throws in
      #expect(try daemon.get(host: "a").text.hasPrefix("a "))
      #expect(try daemon.get(host: "B").text.hasPrefix("b "))
      #expect(try daemon.get(host: "web:8080").text.hasPrefix("b "))
      #expect(try daemon.get(host: "web:8081").text.hasPrefix("b "))
      #expect(try daemon.get(host: "other:8080")["fairlead-code"] == "FL2003")
    }
  }

  @Test("a reload changes what names lead to and what requests are called, without a failed request")
  func reloading() throws {
    try withTwo("/svc/web => /#/static/a & /#/static/a |! /#/static/b ;") { daemon, a, b in
      let file = daemon.directory.path("fairlead.yaml")
      let before = readFile(file)
      let client = try daemon.connect()
      #expect(try client.get("/v1.0/invoke/web/method/x").text == "a GET /v1.0/invoke/web/method/x ")
      let right = "/#/static/a & /#/static/a |! /#/static/b"
      for (delegation, identifiers, expected) in [
        ("9 * /#/static/b & /#/static/empty |! /#/static/b", "[host]", "b GET /v1.0/invoke/web/method/x "),
        ("/#/static/a", "[invoke]", "a GET /x "), ("/#/static/b & /#/static/b", "[invoke, host]", "b GET /x "),
        (right, "[host]", "a GET /v1.0/invoke/web/method/x "),
      ] {
        let text = before.split(separator: right, maxSplits: 1).joined(separator: delegation)
        _ = try daemon.directory.write("fairlead.yaml", text + "identifiers: \(identifiers)\n")
        daemon.child.signal(SIGHUP)
        var statuses: Set<Int> = []
        let isChanged = try eventually {
          let response = try client.get("/v1.0/invoke/web/method/x")
          statuses.insert(response.status)
          return response.text == expected
        }
        #expect(isChanged && statuses == [200], "\(delegation)")
      }
      #expect(a.failures.isEmpty && b.failures.isEmpty)
    }
  }

  // MARK: Identifiers

  @Test("a service is invoked as Dapr's clients do it, bodies and query included")
  func invoke() throws {
    try withTwo("/svc => /#/static ;", identifiers: "[invoke, host]") { daemon, a, _ in
      let client = try daemon.connect()
      for _ in 0..<2 {
        let response = try client.request(
          "POST /v1.0/invoke/a/method/orders/7?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
        #expect(response.text == "a POST /orders/7?x=1 hello")
      }
      #expect(a.requests.allSatisfy { $0["host"] == "localhost" })
      #expect(try client.get("/v1.0/invoke/b/method").text == "b GET / ")
      #expect(try client.get("/v1.0/invoke/B/method?y").text == "b GET /?y ")
      #expect(try client.get("/v1.0/state", host: "a").text == "a GET /v1.0/state ")
      let unknown = try client.get("/v1.0/invoke/c/method/x")
      try expectProxyMade(unknown, [404], by: daemon)
      let bad = try client.get("/v1.0/invoke/..%2f/method/x")
      #expect(bad.status == 400 && bad["fairlead-code"] == "FL2002")
      // Pipelined: the second waits for its name while the first is answered.
      try client.send(
        "GET /v1.0/invoke/a/method/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /v1.0/invoke/b/method/2 HTTP/1.1\r\nHost: x\r\n\r\n"
      )
      #expect(try client.readResponse().text == "a GET /1 ")
      #expect(try client.readResponse().text == "b GET /2 ")
    }
  }

  @Test("paths, header fields, methods and fixed names, tried in order")
  func identifiers() throws {
    let delegations = """
      /svc => /#/static ;
      /svc/x/y => /#/static/a ;
      /svc/x/Y => /#/static/b ;
      /svc/1.1/PUT/shop => /#/static/a ;
      /svc/1.1/GET/shop => /#/static/b ;
      /rest => /#/static/a & /#/static/a |! /#/static/b ;
      """
    let identifiers =
      "[header, {kind: path, segments: 2, consume: true}, method-host, {kind: static, name: /rest}]"
    try withTwo(delegations, identifiers: identifiers) { daemon, a, b in
      let client = try daemon.connect()
      let send = { (line: String, fields: String) throws in
        try client.request("\(line)\r\n\(fields)\r\n").text
      }
      for _ in 0..<2 {
        #expect(try send("GET /x/y/z?q HTTP/1.1", "Host: shop\r\n") == "a GET /z?q ")
        #expect(try send("GET /x/Y HTTP/1.1", "Host: shop\r\n") == "b GET / ")
        #expect(try send("GET /x/y HTTP/1.1", "Host: shop\r\nl5d-name: b\r\n") == "b GET /x/y ")
        #expect(try send("GET / HTTP/1.1", "Host: shop\r\n") == "b GET / ")
        #expect(try send("PUT / HTTP/1.1", "Host: Shop:80\r\nContent-Length: 0\r\n") == "a PUT / ")
      }
      #expect(!(a.requests + b.requests).contains { $0["l5d-name"] != nil })
      let old = try daemon.request("GET /old HTTP/1.0\r\n\r\n")
      #expect(old.text == "a GET /old ")
    }
  }

  // MARK: What requests bring along

  @Test("a trusted client's l5d-dtab holds for its request, and for no other")
  func override() throws {
    try withTwo("/svc => /#/static ; /svc/web => /#/static/a ;", listener: "trust: clients") { daemon, a, b in
      let client = try daemon.connect()
      let get = { (fields: String) throws in try client.request("GET / HTTP/1.1\r\nHost: web\r\n\(fields)\r\n") }
      #expect(try get("").text == "a GET / ")
      #expect(try get("L5d-Dtab: /svc/web => /#/static/b\r\n").text == "b GET / ")
      #expect(try get("").text == "a GET / ")
      let lines = "l5d-dtab: /svc/web => /new\r\nl5d-ctx: x\r\nl5d-dtab: /new => /#/static/none | /#/static/b ;\r\n"
      #expect(try get(lines).text == "b GET / ")
      #expect(try get("l5d-dtab: /svc/web => /#/static/b & /#/static/b\r\n").text == "b GET / ")
      #expect(try get("l5d-dtab: /svc/web => !\r\n")["fairlead-code"] == "FL2007")
      #expect(try get("l5d-dtab: /svc/web => /svc/web\r\n")["fairlead-code"] == "FL2004")
      #expect(!(a.requests + b.requests).contains { $0["l5d-dtab"] != nil })
      let bad = try get("l5d-dtab: /svc/web => /#/static/b & ;\r\n")
      try expectProxyMade(bad, [400], by: daemon)
      #expect(bad["l5d-err"]?.hasPrefix("l5d-dtab is no delegation at column 27 (FL2008)") == true, "\(bad.head)")
      let many = String(repeating: "/a=>/b;", count: 65)
      #expect(try get("l5d-dtab: \(many)\r\n")["fairlead-code"] == "FL2008")
      #expect(try get("").text == "a GET / ")
    }
  }

  @Test("anybody else's l5d-dtab is taken away unread")
  func untrusted() throws {
    try withTwo("/svc/web => /#/static/a ;") { daemon, a, _ in
      let response = try daemon.request(
        "GET / HTTP/1.1\r\nHost: web\r\nl5d-dtab: /svc/web => /#/static/b\r\nl5d-dtab: =>\r\n\r\n")
      #expect(response.text == "a GET / ")
      #expect(a.requests.first?["l5d-dtab"] == nil)
    }
  }

  // MARK: Seeing it

  @Test("fairlead names shows the tree, with the lines of the configuration")
  func names() throws {
    try withTwo("/svc => /#/static ;\n/svc/web => 0.9 * /#/static/a & 0.1 * /#/static/empty |! /#/static/b ;") {
      daemon, _, _ in
      let file = daemon.directory.path("fairlead.yaml")
      let result = try Child.run(
        [FairleadProcess.commandPath, "--socket", daemon.directory.path("admin.sock"), "names", "web"])
      #expect(result.status == .exited(0))
      #expect(
        result.output == """
          /svc/web
            /svc/web => 0.9 * /#/static/a & 0.1 * /#/static/empty |! /#/static/b   (\(file):14)
              the first of these
                shares
                  0.9 * /#/static/a   1 endpoint
                  0.1 * /#/static/empty   0 endpoints
                |! /#/static/b   1 endpoint
            /svc => /#/static   (\(file):13)   not tried

             90.00%  /#/static/a
             10.00%  /#/static/empty
          stands in  /#/static/b

          """)
      let lost = try Child.run(
        [FairleadProcess.commandPath, "--socket", daemon.directory.path("admin.sock"), "names", "/svc/lost"])
      #expect(lost.status == .exited(1))
      #expect(lost.output.hasSuffix("negative: /svc/lost is not known: tried /#/static/lost\n"))
    }
  }
}
