// Rules at work, over real sockets: where a request goes, what is changed on it, what is answered at once.

import TestSupport
import Testing

/// Three services, `web`, `cart` and `shadow`, and rules in front of them.
struct RoutedServices {
  let web: ScriptedUpstream
  let cart: ScriptedUpstream
  let shadow: ScriptedUpstream
  var options = FairleadOptions()

  init(_ routes: String, cart: Script = .answering(with: "cart"), shadow: Script = .answering(with: "shadow")) throws {
    web = try ScriptedUpstream(.answering(with: "web", fields: "server: original\r\nx-old: 1\r\n"))
    self.cart = try ScriptedUpstream(cart)
    self.shadow = try ScriptedUpstream(shadow)
    options.services = [
      "web": [web.address.description], "cart": [self.cart.address.description],
      "shadow": [self.shadow.address.description],
    ]
    options.extra = "routes:\n" + routes
  }

  func run(_ body: (FairleadProcess) throws -> Void) throws {
    try withFairlead(options, upstreams: [web, cart, shadow], body)
  }
}

@Suite("Routes", needsDaemon)
struct RoutingTests {
  @Test("the first rule that matches has the request: by host, path, method, field, query and caller")
  func matching() throws {
    let services = try RoutedServices(
      """
        - { match: { hosts: ["*.shop.local"], path: { prefix: /cart }, methods: [GET] }, to: /svc/cart }
        - { match: { headers: [ { name: x-user-group, exact: beta } ] }, to: /svc/cart }
        - { match: { query: [ { name: v, regex: "[2-9]" } ], workloads: [other] }, to: /svc/cart }
        - { match: { path: { regex: "/api/v[0-9]+/.*" } }, to: /svc/cart }
        - { match: { path: { exact: /only } }, to: "/#/static/shadow" }
      """)
    try services.run { daemon in
      let client = try daemon.connect()
      for (line, host, fields, expected) in [
        ("GET /cart/x", "www.shop.local:80", "", "cart"), ("GET /carts", "web", "", "web"),
        ("GET /", "web", "X-User-Group: beta\r\n", "cart"), ("GET /", "web", "x-user-group: gamma\r\n", "web"),
        ("GET /?v=2", "web", "", "cart"), ("GET /?v=1", "web", "", "web"), ("GET /api/v2/x", "nobody", "", "cart"),
        ("GET /only", "nobody", "", "shadow"), ("GET /only/x", "web", "", "web"),
      ] {
        try client.send("\(line) HTTP/1.1\r\nHost: \(host)\r\n\(fields)\r\n")
        #expect(try client.readResponse().text == expected, "\(line) \(host)")
      }
      #expect(try daemon.request("POST /cart HTTP/1.1\r\nHost: a.shop.local\r\n\r\n").status == 404)
      #expect(try daemon.admin.value("fairlead_route_requests_total{route=\"#0\"}") == 1)
      #expect(try daemon.admin.value("fairlead_route_requests_total{route=\"#4\"}") == 1)
    }
  }

  @Test("the access log names the rule that had a request, also one that answered it")
  func accessLog() throws {
    var services = try RoutedServices(
      """
        - { name: cart, match: { path: { prefix: /cart } }, to: /svc/cart }
        - { match: { path: { exact: /healthz } }, respond: { status: 204 } }
      """)
    services.options.accessLog = true
    try services.run { daemon in
      for path in ["/cart", "/healthz", "/"] { _ = try daemon.get(path) }
      let expected = ["/cart": "\"route\":\"cart\"", "/healthz": "\"route\":\"#1\"", "/": ""]
      let logged = eventually {
        let lines = readFile(daemon.directory.path("access.log")).split(separator: "\n")
        return lines.count == 3
          && lines.allSatisfy { line in
            guard let one = expected.first(where: { line.contains("\"path\":\"\($0.key)\"") }) else { return false }
            return one.value.isEmpty ? !line.contains("\"route\"") : line.contains(one.value)
          }
      }
      #expect(logged, "\(readFile(daemon.directory.path("access.log")))")
    }
  }

  @Test("what goes on is rewritten: path, host and fields, and the response's fields on the way back")
  func rewriting() throws {
    let services = try RoutedServices(
      """
        - name: cart
          match: { path: { prefix: /cart } }
          to: /svc/web
          rewrite: { path: { prefix: / }, host: "cart.internal:81" }
          headers:
            request: { set: { x-via: fairlead }, add: { x-more: "2" }, remove: [x-debug] }
            response: { set: { server: hidden }, remove: [x-old], add: { x-new: "1" } }
        - match: { path: { regex: "/v[0-9]+/.*" } }
          to: /svc/web
          rewrite: { path: { regex: "^/v([0-9]+)/", replacement: "/api/$1/" } }
      """)
    try services.run { daemon in
      let response = try daemon.request(
        "GET /cart/x?q=/cart HTTP/1.1\r\nHost: a\r\nX-Via: me\r\nX-Debug: 1\r\nx-more: 1\r\nTraceparent: t\r\n\r\n")
      #expect(response.text == "web")
      #expect(response.values("server") == ["hidden"] && response["x-old"] == nil && response["x-new"] == "1")
      let head = try #require(services.web.requests.first).head
      #expect(
        head == "GET /x?q=/cart HTTP/1.1\r\nx-more: 1\r\nTraceparent: t\r\nhost: cart.internal:81\r\n"
          + "x-via: fairlead\r\nx-more: 2\r\nvia: 1.1 test-node\r\n\r\n")
      #expect(try daemon.get("/v2/x", host: "b").text == "web")
      #expect(try daemon.request("GET http://c/v3/y?z HTTP/1.1\r\nHost: c\r\n\r\n").text == "web")
      #expect(services.web.requests.dropFirst().map(\.target) == ["/api/2/x", "/api/3/y?z"])
      #expect(services.web.requests.dropFirst().map { $0["host"] } == ["b", "c"])
      let body = "POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
      #expect(try daemon.request(body).text == "web")
      #expect(services.web.requests.last?.target == "/" && services.web.requests.last?.text == "hello")
    }
  }

  @Test("requests are split by weight")
  func split() throws {
    let services = try RoutedServices(
      "  - { match: {}, split: [ { to: /svc/web, weight: 1 }, { to: /svc/cart, weight: 1 }, { to: /svc/shadow, weight: 0 } ] }"
    )
    try services.run { daemon in
      let client = try daemon.connect()
      for _ in 0..<400 { #expect(try client.get("/", host: "any").status == 200) }
      // Five standard deviations of √(400 · ½ · ½) = 10.
      #expect((150...250).contains(services.web.requests.count))
      #expect(services.web.requests.count + services.cart.requests.count == 400)
      #expect(services.shadow.requests.isEmpty)
    }
  }

  @Test("a rule's own answers go out at once, on a connection that stays")
  func answers() throws {
    let services = try RoutedServices(
      """
        - match: { hosts: [old.local] }
          redirect: { host: new.local, status: 308 }
        - match: { path: { prefix: /moved } }
          redirect: { scheme: https, port: 8443, path: { prefix: /here } }
        - match: { path: { exact: /healthz } }
          respond: { status: 200, body: "ok\\n", headers: { x-a: b } }
        - match: { path: { exact: /gone } }
          respond: { status: 204 }
      """)
    try services.run { daemon in
      let client = try daemon.connect()
      try client.send("GET /a?b HTTP/1.1\r\nHost: old.local\r\n\r\n")
      var response = try client.readResponse()
      #expect(response.startLine == "HTTP/1.1 308 Permanent Redirect")
      #expect(response["location"] == "http://new.local/a?b" && response["via"] == "1.1 test-node")
      response = try client.get("/moved/x?y", host: "web:80")
      #expect(response.status == 302 && response["location"] == "https://web:8443/here/x?y")
      try client.send("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try client.readResponse(to: "HEAD")["content-length"] == "3")
      response = try client.get("/healthz", host: "x")
      #expect(response.text == "ok\n" && response["x-a"] == "b")
      response = try client.get("/gone", host: "x")
      #expect(response.status == 204 && response["content-length"] == nil)
      #expect(try client.get("/", host: "web").text == "web")
      // A body that nobody reads ends the connection, after the answer.
      try client.send("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
      response = try client.readResponse()
      #expect(response.text == "ok\n" && response["connection"] == "close")
      #expect(services.web.requests.count == 1)
    }
  }

  @Test("curl follows a redirect and sees what a rule set", .enabled(if: findTool("curl") != nil, "needs curl"))
  func curl() throws {
    let services = try RoutedServices(
      """
        - { match: { path: { exact: /old } }, redirect: { path: { full: /new } } }
        - { match: { path: { exact: /new } }, to: /svc/cart, headers: { response: { set: { x-route: new } } } }
      """)
    try services.run { daemon in
      let result = try Child.run(["curl", "-sSgiL", "http://\(daemon.address)/old"])
      #expect(result.status == .exited(0))
      #expect(result.output.contains("HTTP/1.1 302 Found") && result.output.contains("x-route: new"))
      #expect(result.output.hasSuffix("cart"))
    }
  }

  @Test("faults: aborted requests reach no endpoint, delayed ones come late and whole")
  func faults() throws {
    let services = try RoutedServices(
      """
        - { match: { path: { exact: /abort } }, fault: { abort: { percent: 100, status: 503 } } }
        - { match: { path: { exact: /late } }, to: /svc/cart, fault: { delay: { percent: 100, duration: 150ms } } }
        - match: { path: { exact: /both } }
          fault: { delay: { percent: 100, duration: 50ms }, abort: { percent: 100, status: 429 } }
        - { match: { path: { exact: /never } }, to: /svc/cart, fault: { abort: { percent: 0, status: 503 } } }
      """)
    try services.run { daemon in
      let client = try daemon.connect()
      var response = try client.get("/abort")
      #expect(response.status == 503 && response["fairlead-code"] == "FL2401")
      let start = ContinuousClock.now
      try client.send(
        "POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /never HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try client.readResponse().text == "cart")
      #expect(ContinuousClock.now - start >= .milliseconds(150))
      #expect(try client.readResponse().text == "cart")
      response = try client.get("/both")
      #expect(response.status == 429 && response["fairlead-code"] == "FL2401")
      #expect(services.cart.requests.map(\.text) == ["hello", ""])
      #expect(try daemon.admin.value("fairlead_faults_injected_total{kind=\"abort\"}") == 2)
      #expect(try daemon.admin.value("fairlead_faults_injected_total{kind=\"delay\"}") == 2)
      // A client that leaves while it waits costs nothing.
      let gone = try daemon.connect()
      try gone.send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
      gone.close()
    }
  }

  @Test("a rule's timeout takes the place of the service's")
  func timeout() throws {
    let services = try RoutedServices(
      "  - { match: { path: { exact: /slow } }, to: /svc/cart, timeout: 100ms }", cart: .silent)
    try services.run { daemon in
      let response = try daemon.get("/slow")
      #expect(response.status == 504 && response["fairlead-code"] == "FL2106")
    }
  }

  @Test("a rule's retries are laid over the service's")
  func retries() throws {
    let failing = Script { connection in
      while let request = try connection.readRequest() {
        try connection.respond(to: request, status: "503 Busy", body: "busy")
      }
    }
    let services = try RoutedServices(
      """
        - { match: { path: { exact: /once } }, to: /svc/cart, retries: { limit: 0 } }
        - { match: { path: { exact: /never } }, to: /svc/cart, retries: { classifier: never } }
        - { match: { path: { exact: /twice } }, to: /svc/cart, retries: { limit: 1, backoff: { min: 1ms, max: 1ms } } }
      """, cart: failing)
    try services.run { (daemon) throws in
      for (path, attempts) in [("/once", 1), ("/never", 1), ("/twice", 2)] {
        #expect(try daemon.get(path).text == "busy")
        #expect(services.cart.requests.filter { $0.target == path }.count == attempts, "\(path)")
      }
    }
  }

  @Test("a pattern that would blow up is stopped and counted; the request goes on")
  func patternLimits() throws {
    let services = try RoutedServices("  - { match: { path: { regex: \"/(a+)+b\" } }, to: /svc/cart }")
    try services.run { (daemon) throws in
      #expect(try daemon.get("/aab").text == "cart")
      #expect(try daemon.get("/" + String(repeating: "a", count: 64) + "!b").text == "web")
      #expect(try daemon.admin.value("fairlead_pattern_limits_total") == 1)
    }
  }

  @Test("of ten thousand rules each is found, and the tables show them all")
  func many() throws {
    let rules = (0..<10_000).map {
      "  - { match: { hosts: [h\($0).local], path: { prefix: /p } }, to: /svc/cart, rewrite: { path: { prefix: /r\($0) } } }"
    }
    let services = try RoutedServices(rules.joined(separator: "\n"))
    try services.run { daemon in
      let client = try daemon.connect()
      for number in [0, 1, 4_999, 9_999] {
        #expect(try client.get("/p/x", host: "H\(number).local").text == "cart")
        #expect(services.cart.requests.last?.target == "/r\(number)/x")
      }
      #expect(try client.get("/q", host: "web").text == "web")
      let routes = try daemon.admin.json("/routes")["routes"].elements
      #expect(routes.count == 10_000 && routes.last?["requests"].number == 1)
      let shown = try Child.run([FairleadProcess.commandPath, "--socket", daemon.admin.path, "routes"])
      let first = shown.output.split(separator: "\n").dropFirst().first ?? ""
      #expect(first.hasPrefix("#0 ") && first.contains("h0.local /p*") && first.contains("to /svc/cart, rewrite"))
    }
  }

  @Test("a request that waits out a delay goes by the rules it came under; the next one by the new")
  func reload() throws {
    var services = try RoutedServices(
      "  - { match: {}, to: /svc/cart, fault: { delay: { percent: 100, duration: 1s } }, mirror: { to: /svc/shadow } }")
    try services.run { daemon in
      let client = try daemon.connect()
      try client.send("GET /old HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(
        try eventually { try daemon.admin.value("fairlead_faults_injected_total{kind=\"delay\"}") == 1 })
      services.options.extra = "routes:\n  - { match: {}, to: /svc/shadow }\n"
      _ = try daemon.directory.write("fairlead.yaml", services.options.yaml(in: daemon.directory))
      daemon.child.signal(1)
      #expect(try eventually { try daemon.admin.json("/status")["snapshotGeneration"].number == 2 })
      #expect(try daemon.get("/new", host: "x").text == "shadow")
      #expect(try client.readResponse().text == "cart")
      #expect(services.cart.requests.map(\.target) == ["/old"])
      #expect(eventually { services.shadow.requests.contains { $0.target == "/old" } })
      #expect(try client.get("/after", host: "x").text == "shadow")
    }
  }
}
