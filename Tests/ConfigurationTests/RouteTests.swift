// `routes`: what good ones become, and what is refused, with its place.

import Configuration
import Policy
import Testing

@Suite("Routes in a configuration")
struct RouteTests {
  static let full = """
    routes:
      - name: cart
        match: { hosts: [Shop.local, "*.shop.local", "[::1]"], path: { prefix: /cart }, methods: [GET, PURGE],
                 headers: [ { name: X-User-Group, exact: beta }, { name: a, prefix: b, invert: true },
                            { name: c, regex: "d.*" }, { name: e }, { name: f, present: false } ],
                 query: [ { name: v, exact: "1" }, { name: w, regex: "[0-9]+" }, { name: x, present: true } ],
                 workloads: [batch, other] }
        to: /svc/Web
        rewrite: { path: { prefix: / }, host: "Cart.internal:8080" }
        headers: { request: { set: { X-Via: fairlead }, add: { x-more: "" }, remove: [X-Debug] },
                   response: { remove: [server], set: { x-a: b } } }
        mirror: { to: /svc/api, percent: 0.5 }
        fault: { delay: { percent: 1, duration: 200ms }, abort: { percent: 12.25, status: 503 } }
        timeout: 2s
        retries: { limit: 1, classifier: never, backoff: { min: 20ms } }
        rateLimit: { requests: 100, per: 1m, burst: 5 }
      - match: { hosts: [old.local] }
        redirect: { scheme: https, host: new.local, port: 8443, path: { full: /x }, status: 308 }
      - match: { path: { prefix: /p } }
        redirect: { path: { prefix: /q } }
      - match: { path: { exact: /healthz } }
        respond: { status: 200, body: "ok\\n", contentType: text/html, headers: { x-b: c } }
      - match: { path: { regex: "/v[0-9]+/.*" } }
        split: [ { to: /svc/web, weight: 95 }, { to: "/#/static/api", weight: 5 } ]
        rewrite: { path: { regex: "^/v([0-9]+)", replacement: /api/$1 } }
        rateLimit: { requests: 10 }
      - match: { path: { exact: "*" } }
        rewrite: { path: { full: /all } }
      - match: { sni: [Shop.local, "*.example"], alpn: [h2, http/1.1], workloads: [batch] }
        to: /svc/web
      - match: {}
    """

  static let workloads = "workloads: [{name: batch, match: {users: [1]}}]\n"

  @Test("what is written is there")
  func values() throws {
    let routes = try good(Self.workloads + Self.full).routes
    #expect(routes.map(\.name) == ["cart", nil, nil, nil, nil, nil, nil, nil])
    #expect(routes.enumerated().map { $1.label(number: $0) } == ["cart", "#1", "#2", "#3", "#4", "#5", "#6", "#7"])
    #expect(routes[0].place == "fairlead.yaml:6:5" && routes[1].line == 21)
    let cart = routes[0].rule
    #expect(cart.match.hosts.map(\.description) == ["shop.local", "*.shop.local", "[::1]"])
    #expect(cart.match.path == .prefix("/cart") && cart.match.methods == ["GET", "PURGE"])
    #expect(
      try cart.match.headers == [
        .init(name: "x-user-group", value: .exact("beta")), .init(name: "a", value: .prefix("b"), isInverted: true),
        .init(name: "c", value: .regex(Pattern(parsing: "d.*", scope: .whole))), .init(name: "e", value: .present),
        .init(name: "f", value: .present, isInverted: true),
      ])
    #expect(
      try cart.match.query == [
        .init(name: "v", value: .exact("1")),
        .init(name: "w", value: .regex(Pattern(parsing: "[0-9]+", scope: .whole))),
        .init(name: "x", value: .present),
      ])
    #expect(cart.match.workloads == ["batch", "other"])
    #expect(cart.action.destinations.map(\.name.description) == ["/svc/web"])
    #expect(cart.action.pathRewrite == .prefix("/") && cart.action.hostRewrite == "cart.internal:8080")
    #expect(cart.action.requestHeaders.set == [.init(name: "x-via", value: "fairlead")])
    #expect(cart.action.requestHeaders.add == [.init(name: "x-more", value: "")])
    #expect(cart.action.requestHeaders.remove == ["x-debug"] && cart.action.responseHeaders.remove == ["server"])
    #expect(cart.action.mirror?.name.description == "/svc/api" && cart.action.mirror?.share.description == "0.5")
    #expect(cart.action.delay?.duration == .milliseconds(200) && cart.action.delay?.share.description == "1")
    #expect(cart.action.abort?.status == 503 && cart.action.timeout == .seconds(2))
    #expect(routes[0].retries.limit == 1 && routes[0].retries.backoff.min == .milliseconds(20))
    #expect(routes[1].retries == Configuration.Retries())
    let stream = routes[6].rule.match
    #expect(stream.serverNames.map(\.description) == ["shop.local", "*.example"] && stream.isForStreams)
    #expect(stream.protocols == ["h2", "http/1.1"] && stream.workloads == ["batch"] && !cart.match.isForStreams)
    #expect(routes[0].rateLimit == Configuration.RateLimit(count: 100, period: .seconds(60), burst: 5))
    #expect(routes[4].rateLimit == Configuration.RateLimit(count: 10) && routes[1].rateLimit == nil)
    #expect(
      routes[1].rule.action.answer
        == .redirect(.init(scheme: "https", host: "new.local", port: 8443, path: .full("/x"), status: 308)))
    #expect(routes[2].rule.action.answer == .redirect(.init(path: .prefix("/q"), status: 302)))
    #expect(
      routes[3].rule.action.answer
        == .respond(
          .init(status: 200, body: "ok\n", contentType: "text/html", headers: [.init(name: "x-b", value: "c")])))
    #expect(routes[4].rule.action.destinations.map(\.weight) == [95, 5])
    #expect(routes[7].rule == Policy.Route())
  }

  @Test("rules in two short lines, for tables")
  func summaries() throws {
    let routes = try good(Self.workloads + Self.full).routes
    #expect(
      routes.map(\.matchSummary) == [
        "shop.local,*.shop.local,[::1] /cart* GET,PURGE x-user-group=beta not a=b* c~d.* e not f ?v=1 ?w~[0-9]+ ?x from batch,other",
        "old.local", "/p*", "/healthz", "~/v[0-9]+/.*", "*", "sni=shop.local,*.example alpn=h2,http/1.1 from batch",
        "everything",
      ])
    #expect(
      routes.map(\.actionSummary) == [
        "to /svc/web, rewrite, headers, mirror 0.5% to /svc/api, delay 1% by 200ms, abort 12.25% with 503, timeout 2s, retries, limit 100 per 1m",
        "redirect 308", "redirect 302", "respond 200", "split /svc/web 95 : /#/static/api 5, rewrite, limit 10 per 1s",
        "rewrite", "to /svc/web", "as the host says",
      ])
  }

  @Test("the effective configuration reads back as the same rules")
  func roundTrip() throws {
    let configuration = try good(Self.workloads + Self.full)
    let again = try Configuration.parse(configuration.render())
    #expect(again.routes.map(\.rule) == configuration.routes.map(\.rule))
    #expect(again.routes.map(\.retries) == configuration.routes.map(\.retries))
    #expect(again.routes.map(\.rateLimit) == configuration.routes.map(\.rateLimit))
    #expect(again.routes.map(\.name) == configuration.routes.map(\.name))
    #expect(again.render() == configuration.render())
  }

  @Test(
    "a wrong match is refused with what it may be",
    arguments: [
      (
        "{to: /svc/web}",
        "5:10: 'match' is missing in routes[0]; write match: { hosts: [shop.local] }, or match: {} for every request"
      ),
      ("{match: {}, retries: {limit: 11}}", "5:39: 'routes[0].retries.limit' must be between 0 and 10, not 11"),
      ("{match: {}, retries: {budget: {}}}", "5:32: unknown key 'budget' in routes[0].retries"),
      ("{match: {}, name: a/b}", "5:28: a route's name has up to 63 letters, digits and any of -._, not 'a/b'"),
      ("{match: {}, name: '#1'}", "5:28: a route's name has up to 63 letters, digits and any of -._, not '#1'"),
      ("{match: {host: [a]}}", "5:19: unknown key 'host' in routes[0].match; did you mean 'hosts'?"),
      ("{match: {hosts: a}}", "5:26: 'routes[0].match.hosts' must be a list, not a single value"),
      (
        "{match: {hosts: []}}",
        "5:26: 'routes[0].match.hosts' is empty and would match nothing; leave it out to match all"
      ),
      (
        "{match: {hosts: [a:80]}}",
        "5:27: 'a:80' is not a host: write it without a port, and an IPv6 address in brackets"
      ),
      (
        "{match: {hosts: [a.*]}}",
        "5:27: 'a.*' is not a host: '*' stands only at the front, for whole labels, such as *.shop.local"
      ),
      ("{match: {path: /cart}}", "5:25: 'routes[0].match.path' must be a mapping (key: value), not a single value"),
      ("{match: {path: {}}}", "5:25: 'routes[0].match.path' says nothing; write prefix: /cart"),
      (
        "{match: {path: {exact: /a, prefix: /b}}}",
        "5:45: 'routes[0].match.path' has 'exact' and 'prefix'; one of the two must go"
      ),
      ("{match: {path: {prefix: cart}}}", "5:34: 'cart' is not a path: a path begins with '/'"),
      (
        "{match: {path: {prefix: /a?b}}}",
        "5:34: '/a?b' is not a path: a path ends before '?'; the query is matched by 'query'"
      ),
      (
        "{match: {path: {exact: /ä}}}",
        "5:33: '/ä' is not a path: a path holds no blanks, control characters or '#', and other letters only as %XX"
      ),
      (
        "{match: {path: {regex: '/a(b'}}}",
        "5:38: '/a(b' is not a regular expression: missing closing parenthesis (at character 5)"
      ),
      (
        "{match: {path: {regex: '/a[b-a]c'}}}",
        "5:39: '/a[b-a]c' is not a regular expression: range out of order in character class (at character 6)"
      ),
      ("{match: {methods: [get]}}", "5:29: 'get' is not a method: methods are in capitals; did you mean GET?"),
      ("{match: {methods: [G T]}}", "5:29: 'G T' is not a method: it has up to 32 letters and no blanks"),
      (
        "{match: {headers: [{exact: a}]}}",
        "5:29: 'name' is missing in routes[0].match.headers[0]; write name: x-user-group"
      ),
      (
        "{match: {headers: [{name: 'a b'}]}}",
        "5:36: 'a b' is not the name of a header field: it has up to 128 letters, digits and any of -_."
      ),
      (
        "{match: {headers: [{name: host}]}}",
        "5:36: the host is matched by 'hosts', which knows of ports and of absolute targets"
      ),
      (
        "{match: {headers: [{name: a, exact: \"b\\nc\"}]}}",
        "5:46: 'routes[0].match.headers[0].exact' must hold printable ASCII characters only: no line breaks, no control characters"
      ),
      (
        "{match: {query: [{name: a, present: false}]}}",
        "5:46: 'routes[0].match.query[0].present' can only be true"
      ),
      (
        "{match: {query: [{name: a&b}]}}",
        "5:34: a name in a query has up to 256 characters and no blanks, '&', '=' or '#', as they are sent (%XX)"
      ),
      (
        "{match: {query: [{name: a, exact: 'b c'}]}}",
        "5:44: a value in a query has no blanks, '&' or '#': it is compared as it is sent (%XX, and + for a blank)"
      ),
      ("{match: {workloads: [web]}}", "5:31: no workload is named 'web'"),
    ])
  func matches(fragment: String, expected: String) { #expect(problems(fragment) == [expected]) }

  @Test(
    "a route for TLS connections says where they go and nothing else",
    arguments: [
      (
        "{match: {sni: [a b]}, to: /svc/web}",
        "5:25: 'a b' is not a server's name: a host has letters, digits and any of -_~+ between its dots"
      ),
      (
        "{match: {sni: ['[::1]']}, to: /svc/web}", "5:25: '[::1]' is not a server's name: clients name no address there"
      ),
      (
        "{match: {sni: []}, to: /svc/web}",
        "5:24: 'routes[0].match.sni' is empty and would match nothing; leave it out to match all"
      ),
      (
        "{match: {alpn: ['']}, to: /svc/web}",
        "5:26: '' is not a protocol: it has up to 255 printable characters and no blanks, such as h2 or http/1.1"
      ),
      ("{match: {sni: [a]}}", "5:18: 'routes[0]' does not say where such TLS connections go; write to: /svc/shop"),
      (
        "{match: {sni: [a], hosts: [b]}, to: /svc/web}",
        "5:36: 'hosts' is for requests, and 'sni' for TLS connections, which are carried unread; write two routes"
      ),
      (
        "{match: {alpn: [h2], path: {prefix: /}}, to: /svc/web}",
        "5:37: 'path' is for requests, and 'alpn' for TLS connections, which are carried unread; write two routes"
      ),
      (
        "{match: {sni: [a]}, to: /svc/web, timeout: 1s}",
        "5:53: 'timeout' needs a request, and TLS connections are carried unread; beside 'sni' and 'alpn' stand to and split"
      ),
      (
        "{match: {sni: [a]}, to: /svc/web, rateLimit: {requests: 1}}",
        "5:55: 'rateLimit' needs a request, and TLS connections are carried unread; beside 'sni' and 'alpn' stand to and split"
      ),
    ])
  func streams(fragment: String, expected: String) { #expect(problems(fragment) == [expected]) }

  @Test(
    "a wrong action is refused with what it may be",
    arguments: [
      ("to: web", "5:26: 'web' is not a name; write a path such as /svc/web"),
      (
        "to: /svc/nope",
        "5:26: no service is named /svc/nope: no delegation leads from it to an endpoint"
      ),
      ("to: '/#/static/nope'", "5:26: the discovery 'static' has no service 'nope'"),
      (
        "to: /svc/web, split: [{to: /svc/api, weight: 1}]",
        "5:43: 'split' cannot stand beside 'to' in 'routes[0]'; one of the two must go"
      ),
      ("split: []", "5:29: 'routes[0].split' is empty; write [{ to: /svc/web, weight: 1 }]"),
      ("split: [{to: /svc/web}]", "5:30: 'weight' is missing in routes[0].split[0]; write weight: 1"),
      (
        "split: [{to: /svc/web, weight: -1}]", "5:53: 'routes[0].split[0].weight' must be between 0 and 1000000, not -1"
      ),
      ("split: [{to: /svc/web, weight: 0}]", "5:29: the weights of 'routes[0].split' are all 0"),
      ("rewrite: {}", "5:31: 'routes[0].rewrite' says nothing; write path: { prefix: / } or host: web.local"),
      (
        "rewrite: {path: {prefix: /}}",
        "5:47: there is no prefix to replace: 'routes[0].rewrite.path.prefix' needs 'match.path.prefix'; or write full: or regex:"
      ),
      ("rewrite: {path: {full: x}}", "5:45: 'x' is not a path: a path begins with '/'"),
      (
        "rewrite: {path: {regex: a}}",
        "5:38: 'replacement' is missing in routes[0].rewrite.path; write replacement: /$1"
      ),
      ("rewrite: {path: {regex: a, replacement: $1}}", "5:62: '$1' is not a replacement: the pattern has no group 1"),
      (
        "rewrite: {path: {regex: a, replacement: \"/x\\r\\ny: z\"}}",
        "5:62: '/x\u{FFFD}\u{FFFD}y: z' is not a replacement: a path holds no blanks, control characters, '?' or '#', and other letters only as %XX"
      ),
      ("rewrite: {path: {full: /a, replacement: b}}", "5:62: 'replacement' belongs to 'regex'"),
      ("rewrite: {host: 'a:0'}", "5:38: 'a:0' is not a host: its port is no number between 1 and 65535"),
      ("rewrite: {host: '*.a'}", "5:38: '*.a' is not a host: a wildcard names no single host"),
      (
        "rewrite: {host: \"a\\r\\nb\"}",
        "5:38: 'a\u{FFFD}\u{FFFD}b' is not a host: a host has letters, digits and any of -_~+ between its dots"
      ),
      ("mirror: {percent: 1}", "5:30: 'to' is missing in routes[0].mirror; write to: /svc/shadow"),
      ("mirror: {to: /svc/web, percent: 101}", "5:54: '101' is not a percentage: it is more than 100"),
      ("fault: {delay: {percent: 1}}", "5:37: 'duration' is missing in routes[0].fault.delay; write duration: 200ms"),
      ("fault: {abort: {status: 99}}", "5:46: 'routes[0].fault.abort.status' must be between 400 and 599, not 99"),
      ("timeout: 0s", "5:31: 'routes[0].timeout' must be between 1ms and 24h, not 0s"),
      ("redirect: {status: 301}", "5:32: 'routes[0].redirect' leads to where it came from; write host: new.local"),
      (
        "redirect: {path: {prefix: /}}",
        "5:48: there is no prefix to replace: 'routes[0].redirect.path.prefix' needs 'match.path.prefix'; or write full:"
      ),
      (
        "redirect: {host: a, status: 304}",
        "5:50: 'routes[0].redirect.status' must be 301, 302, 303, 307 or 308, not 304"
      ),
      (
        "redirect: {host: 'a:80'}",
        "5:39: 'a:80' is not a host: write it without a port, and an IPv6 address in brackets"
      ),
      (
        "redirect: {host: a}, to: /svc/web",
        "5:47: 'to' cannot stand beside 'redirect' in 'routes[0]'; one of the two must go"
      ),
      (
        "redirect: {host: a}, rateLimit: {requests: 1}",
        "5:54: 'rateLimit' cannot stand beside 'redirect' in 'routes[0]'; one of the two must go"
      ),
      ("rateLimit: {per: 1s}", "5:33: 'requests' is missing in routes[0].rateLimit; write requests: 100"),
      ("rateLimit: 5", "5:33: 'routes[0].rateLimit' must be a mapping such as { requests: 100, per: 1s, burst: 20 }"),
      ("respond: {body: a}", "5:31: 'status' is missing in routes[0].respond; write status: 200"),
      ("respond: {status: 204, body: a}", "5:51: a response with status 204 has no body"),
      ("respond: {status: 101}", "5:40: 'routes[0].respond.status' must be between 200 and 599, not 101"),
      (
        "respond: {status: 200, headers: {content-length: 1}}",
        "5:55: 'content-length' cannot be changed here: Fairlead writes the framing of every message itself"
      ),
      (
        "respond: {status: 200}, redirect: {host: a}",
        "5:31: 'respond' cannot stand beside 'redirect' in 'routes[0]'; one of the two must go"
      ),
    ])
  func actions(fragment: String, expected: String) {
    let found = problems("{match: {}, \(fragment)}")
    #expect(found.contains(expected) && found.count == 1, "\(found)")
  }

  @Test(
    "nothing that a rule writes into a head can end a line, change the framing, or speak for the connection",
    arguments: [
      (
        "request", "set: {Content-Length: 5}",
        "'Content-Length' cannot be changed here: Fairlead writes the framing of every message itself"
      ),
      (
        "request", "remove: [transfer-encoding]",
        "'transfer-encoding' cannot be changed here: Fairlead writes the framing of every message itself"
      ),
      ("response", "add: {connection: close}", "'connection' cannot be changed here: it concerns one connection only"),
      ("response", "add: {upgrade: x}", "'upgrade' cannot be changed here: it concerns one connection only"),
      ("request", "set: {host: a}", "'host' cannot be changed here: write rewrite: { host: web.local }"),
      ("request", "remove: [via]", "'via' cannot be changed here: loops are found by it"),
      ("request", "set: {l5d-dtab: a}", "'l5d-dtab' cannot be changed here: fields of this name are the proxy's own"),
      ("response", "set: {l5d-err: a}", "'l5d-err' cannot be changed here: fields of this name are the proxy's own"),
      (
        "request", "set: {\"a\\r\\nb\": c}",
        "'a\u{FFFD}\u{FFFD}b' is not the name of a header field: it has up to 128 letters, digits and any of -_."
      ),
      (
        "request", "set: {\"a:\": c}",
        "'a:' is not the name of a header field: it has up to 128 letters, digits and any of -_."
      ),
      (
        "request", "set: {\"\": c}",
        "'' is not the name of a header field: it has up to 128 letters, digits and any of -_."
      ),
      (
        "request", "set: {a: \"b\\r\\nc: d\"}",
        "'routes[0].headers.request.set.a' must hold printable ASCII characters only: no line breaks, no control characters"
      ),
      (
        "response", "set: {a: \"b\\0\"}",
        "'routes[0].headers.response.set.a' must hold printable ASCII characters only: no line breaks, no control characters"
      ),
      ("response", "set: {a: \" b\"}", "'routes[0].headers.response.set.a' must not begin or end with a blank"),
      ("response", "set: {a: [b]}", "'routes[0].headers.response.set.a' must be text, not a list"),
      ("response", "set: {a: }", "'a' has no value; write \"\" for an empty one"),
      ("response", "set: {a: b, A: c}", "'A' is there twice; case does not tell fields apart"),
      ("response", "set: {a: b}, remove: [A]", "'A' is set as well; one of the two must go"),
      ("response", "set: [a]", "'routes[0].headers.response.set' must be a mapping (name: value), not a list"),
    ])
  func injection(side: String, fragment: String, expected: String) {
    let found = problems("{match: {}, headers: {\(side): {\(fragment)}}}")
    #expect(found.count == 1 && found.first?.hasSuffix(": \(expected)") == true, "\(found)")
  }

  @Test("names are distinct")
  func names() {
    let found = problems("{match: {}, name: a}, {match: {}, name: a}")
    #expect(found == ["5:50: the route name 'a' is taken; it is first written at fairlead.yaml:5:28"])
  }

  @Test("lists have an end, and twenty thousand rules are no trouble")
  func limits() throws {
    func list(_ count: Int, _ item: (Int) -> String) -> String { (0..<count).map(item).joined(separator: ", ") }
    for (fragment, message) in [
      ("match: {hosts: [\(list(101) { "h\($0)" })]}", "'routes[0].match.hosts' has more than 100 entries"),
      ("match: {headers: [\(list(33) { "{name: h\($0)}" })]}", "'headers' has more than 32 entries"),
      (
        "match: {}, split: [\(list(65) { _ in "{to: /svc/web, weight: 1}" })]",
        "'routes[0].split' has more than 64 entries"
      ),
      (
        "match: {}, headers: {response: {set: {\(list(65) { "a\($0): b" })}}}",
        "'routes[0].headers.response.set' has more than 64 entries"
      ),
      (
        "match: {}, headers: {response: {set: {a: \(String(repeating: "b", count: 4097))}}}",
        "'routes[0].headers.response.set.a' is longer than 4096 characters"
      ),
      (
        "match: {}, respond: {status: 200, body: \(String(repeating: "b", count: 65_537))}",
        "'routes[0].respond.body' is longer than 64 KiB"
      ),
    ] {
      let found = problems("{\(fragment)}")
      #expect(found.count == 1 && found.first?.hasSuffix(": \(message)") == true, "\(found)")
    }
    let rule = { (number: Int) in "- {match: {hosts: [h\(number)], path: {prefix: /p}}, to: /svc/web}\n" }
    #expect(try good("routes:\n" + (0..<20_000).map(rule).joined()).routes.count == 20_000)
    let found = problems((0...20_000).map { _ in "{match: {}}" }.joined(separator: ", "))
    #expect(found.count == 1 && found.first?.hasSuffix(": 'routes' has more than 20000 entries") == true)
  }

  /// What is wrong with these entries, in a configuration that is good otherwise.
  private func problems(_ entries: String) -> [String] {
    findings(
      """
      listeners: [{name: outbound, address: "127.0.0.1:4140"}]
      discovery: [{kind: static, prefix: static, services: {web: ["127.0.0.1:9001"], api: ["127.0.0.1:9002"]}}]
      delegations: /svc => /#/static ;
      #
      routes: [\(entries)]
      """)
  }
}
