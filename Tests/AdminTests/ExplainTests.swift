// `fairlead explain`: the request that is asked about, and how the answer looks.

import Testing

@testable import Admin
@testable import AdminClient

@Suite struct ExplainTests {
  private func head(_ query: ExplainQuery) -> String { String(decoding: query.head, as: UTF8.self) }

  // MARK: The question

  @Test(
    "a URL becomes the request a client would send",
    arguments: [
      ("http://web/cart?a=b", "web", "/cart?a=b"), ("web", "web", "/"), ("web:8080/x", "web:8080", "/x"),
      ("http://web?a=b", "web", "/?a=b"), ("HTTP://web/a#fragment", "web", "/a"), ("[::1]:80/x", "[::1]:80", "/x"),
      ("shop.local//a/../b", "shop.local", "//a/../b"), ("http://web/%20x", "web", "/%20x"),
      ("web/a:b/c://d", "web", "/a:b/c://d"),
    ])
  func urls(url: String, host: String, target: String) throws {
    let query = try ExplainQuery(url: url)
    #expect(query.host == host && query.target == target)
    #expect(head(query) == "GET \(target) HTTP/1.1\r\nhost: \(host)\r\n\r\n")
    #expect(query.description == "GET http://\(host)\(target)")
  }

  @Test("method, headers, workload and listener are taken; a Host goes before that of the URL")
  func parts() throws {
    let query = try ExplainQuery(
      ["url": "web/x", "method": "POST", "headers": "a: 1\nHOST: other\nb:2\n", "workload": "w", "listener": "l"])
    #expect(head(query) == "POST /x HTTP/1.1\r\nhost: other\r\na: 1\r\nb: 2\r\n\r\n")
    #expect(query.host == "other" && query.workload == "w" && query.listener == "l")
  }

  @Test(
    "what no client could send is refused in one line",
    arguments: [
      (["url": ""], "url is missing"), ([:], "url is missing"), (["url": "https://web/"], "only http:// is explained"),
      (["url": "/cart"], "names no host"), (["url": "http:///cart"], "names no host"),
      (["url": "user@web/"], "names no host"), (["url": "web/a b"], "no spaces or control characters"),
      (["url": "web/\r\nx: y"], "no spaces or control characters"), (["url": "web", "method": "G ET"], "no spaces"),
      (["url": "web", "method": ""], "no client could send this"), (["url": "web", "method": "G(T"], "method token"),
      (["url": "web", "method": "CONNECT"], "CONNECT names no service"),
      (["url": "web", "headers": "nocolon"], "a header is 'name: value', not 'nocolon'"),
      (["url": "web", "headers": "a b: c"], "whitespace in a field name"),
      (["url": "web", "headers": ": c"], "no name"), (["url": "web", "headers": "a: b\rc: d"], "control character"),
      (["url": "web", "headers": "host: a b"], "no spaces"), (["url": "we\u{1}b"], "control characters"),
      (["url": "web", "headers": "content-length: x"], "Content-Length"),
      (["url": "w\"b"], "Host field is not a host"),
    ])
  func refused(query: [String: String], words: String) {
    do throws(ExplainError) {
      _ = try ExplainQuery(query)
      Issue.record("not refused: \(query)")
    } catch {
      #expect(error.description.contains(words), "\(error)")
      #expect(!error.description.contains("\n") && !error.description.contains("\r"))
    }
  }

  @Test("too many headers, and more than a head may hold, are refused")
  func bounds() {
    let many = (0...100).map { "h\($0): 1" }
    let long = ["a: " + String(repeating: "x", count: 70_000)]
    for (headers, words) in [(many, "at most 100 headers"), (long, "no client could send this")] {
      do throws(ExplainError) {
        _ = try ExplainQuery(url: "web", headers: headers)
        Issue.record("not refused")
      } catch {
        #expect(error.description.contains(words), "\(error)")
      }
    }
  }

  // MARK: The answer

  private static let report = ExplainReport(
    request: "GET http://web/cart",
    steps: [
      .init(kind: "rule", subject: "routes[0]", result: "/svc/cart", place: "fairlead.yaml:31"),
      .init(kind: "delegation", subject: "/svc/cart", result: "/#/static/cart", place: "fairlead.yaml:20"),
      .init(kind: "service", subject: "/#/static/cart", result: "2 endpoints"),
    ],
    endpoints: [.init(service: "/#/static/cart", address: "127.0.0.1:9001", state: "live", weight: 1)],
    policy: [
      .init(service: "/#/static/cart", name: "timeouts.request", value: "2s", place: "fairlead.yaml:40"),
      .init(service: "/#/static/cart", name: "timeouts.connect", value: "1s"),
    ], verdict: "it is sent to one of 1 endpoint of /#/static/cart")

  @Test("explain shows every decision with the line that made it")
  func command() throws {
    let server = try RunningServer()
    server.node.set { $0.explanation = Self.report }
    let run = Run(
      server,
      ["explain", "http://web/cart", "-H", "x-user: a&b", "-Hy: 2", "-XPUT", "--workload=w", "--listener", "in"])
    #expect(
      run.output == """
        GET http://web/cart

        STEP        SUBJECT         RESULT          DECIDED BY
        rule        routes[0]       /svc/cart       fairlead.yaml:31
        delegation  /svc/cart       /#/static/cart  fairlead.yaml:20
        service     /#/static/cart  2 endpoints     -

        SERVICE         ENDPOINT        STATE  WEIGHT
        /#/static/cart  127.0.0.1:9001  live     1.00

        POLICY            VALUE  DECIDED BY
        timeouts.request  2s     fairlead.yaml:40
        timeouts.connect  1s     default

        it is sent to one of 1 endpoint of /#/static/cart

        """, "\(run.errors)")
    let query = try #require(server.node.get(\.explained).first)
    #expect(head(query) == "PUT /cart HTTP/1.1\r\nhost: web\r\nx-user: a&b\r\ny: 2\r\n\r\n")
    #expect(query.workload == "w" && query.listener == "in")
    let json = Run(server, ["-o", "json", "explain", "web"]).output
    #expect(json.contains("\"place\": null") && json.contains("\"status\": null"))
  }

  @Test("where a request may go to several services, each has its policy, and those that are alike share one table")
  func severalPolicies() throws {
    var report = Self.report
    for (service, value) in [("/#/static/new", "3s"), ("/#/static/old", "2s")] {
      report.policy += [
        .init(
          service: service, name: "timeouts.request", value: value,
          place: value == "2s" ? "fairlead.yaml:40" : "fairlead.yaml:50"),
        .init(service: service, name: "timeouts.connect", value: "1s"),
      ]
    }
    let server = try RunningServer()
    let answer = report
    server.node.set { $0.explanation = answer }
    let output = Run(server, ["explain", "http://web/cart"]).output
    #expect(
      output.contains(
        """
        POLICY OF /#/static/cart, /#/static/old  VALUE  DECIDED BY
        timeouts.request                         2s     fairlead.yaml:40
        timeouts.connect                         1s     default

        POLICY OF /#/static/new  VALUE  DECIDED BY
        timeouts.request         3s     fairlead.yaml:50
        timeouts.connect         1s     default

        """), "\(output)")
    let json = Run(server, ["-o", "json", "explain", "web"]).output
    #expect(
      json.contains("\"service\": \"/#/static/new\"") || json.contains("\"service\":\"/#/static/new\""), "\(json)")
  }

  @Test(
    "what cannot be asked is told",
    arguments: [
      (
        ["explain"], 2,
        "usage: fairlead explain [-X METHOD] [-H 'NAME: VALUE' ...] [--workload NAME] [--listener NAME] URL"
      ),
      (["explain", "web", "-H", "nocolon"], 2, "-H is 'NAME: VALUE', not 'nocolon'"),
      (["explain", "web", "-H", "a: b\nc: d"], 2, "-H is 'NAME: VALUE'"),
      (["explain", "https://web"], 1, "only http:// is explained"),
    ])
  func wrong(arguments: [String], code: Int32, words: String) throws {
    let server = try RunningServer()
    let run = Run(server, arguments)
    #expect(run.code == code && run.errors.contains(words), "\(run.errors)")
    #expect(server.node.get(\.explained).isEmpty)
  }
}
