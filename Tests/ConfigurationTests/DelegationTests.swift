// The delegation table: entries, the places of mistakes inside multi-line values, and where names lead.

import Configuration
import Policy
import Testing

@Suite("Delegations")
struct DelegationTests {
  static let head = """
    listeners: [{name: a, address: ":0"}]
    discovery: [{kind: static, prefix: static, services: {web: [], api: []}}]

    """

  private func entries(_ block: String) throws(Diagnostics) -> [String] {
    try Configuration.parse(Self.head + block, name: "f.yaml").delegations.map {
      "\($0.entry) at \($0.line):\($0.column)"
    }
  }

  @Test("entries keep their order, their segments and their places, whatever style the text has")
  func entries() throws {
    let literal = """
      delegations: |2-   # the header of a block may have a comment

          # comment ; with a semicolon
        /svc      => /#/static ;  /svc/b=>/svc/web;
        \t
          /svc/a
            => /#/static/api   # no semicolon at the end
      """
    #expect(
      try entries(literal) == [
        "/svc => /#/static at 6:3", "/svc/b => /svc/web at 6:29", "/svc/a => /#/static/api at 8:5",
      ])
    let folded = "delegations: >\n  /svc =>\n   /#/static ;\n\n  /svc/a => /#/static/api\n"
    #expect(try entries(folded) == ["/svc => /#/static at 4:3", "/svc/a => /#/static/api at 7:3"])
    let plain = "delegations: /svc => /#/static ;\n  /svc/a => /#/static/api ;\n"
    #expect(try entries(plain) == ["/svc => /#/static at 3:14", "/svc/a => /#/static/api at 4:3"])
    for quote in ["'", "\""] {
      let text = "delegations: \(quote)/svc => /#/static ;\n\n  /svc/a => /#/static/api\(quote)\n"
      #expect(try entries(text) == ["/svc => /#/static at 3:15", "/svc/a => /#/static/api at 5:3"])
    }
    let escaped = "delegations: \"/svc \\x3d> /#/static ;\"\n"
    #expect(try entries(escaped) == ["/svc => /#/static at 3:14"])
    let crlf = "delegations: |\r\n  /svc => /#/static ;\r\n  /svc/a => /#/static/api ;\r\n"
    #expect(try entries(crlf) == ["/svc => /#/static at 4:3", "/svc/a => /#/static/api at 5:3"])
    #expect(try entries("delegations: |\n  ;; /svc => /#/static ;;\n") == ["/svc => /#/static at 4:6"])
  }

  @Test(
    "what the table cannot hold is refused at its place inside of the block",
    arguments: [
      ("/svc => /#/static | ;", "5:22: a name such as /#/static must follow '|', not ';'"),
      (
        "/svc => /#/static |! ;", "5:23: a name such as /#/static must follow '|!' (for a failure write '| !'), not ';'"
      ),
      ("/svc => /#/static &\n ;", "6:2: a name such as /#/static must follow '&', not ';'"),
      ("/svc => 0.95 /#/static ;", "5:15: '*' and a name must follow the weight 0.95"),
      (
        "/svc => 1e3 * /#/static ;",
        "5:11: '*' and a name must follow the weight 1"
      ),
      (
        "/svc => 0.0000001 * /#/static ;",
        "5:10: a weight is a number from 0 to 1000000 with at most six decimals, not '0.0000001'"
      ),
      (
        "/svc => /#/static/*/a ;",
        "5:20: '*' stands for any one segment of a prefix; write {1} for what the first one matched"
      ),
      ("/svc => /#/static/{1} ;", "5:20: {1} is what the prefix's '*' number 1 matched, and it has no '*'"),
      ("/svc => (/#/static ;", "5:10: this '(' has no ')'"),
      ("/svc => /#/static ) ;", "5:20: this ')' has no '('"),
      ("/svc => /#/static |\n   /#/sttic ;", "6:4: no discovery has the prefix 'sttic'; did you mean 'static'?"),
      (
        "/svc => 3 * /#/static & 1 * /#/static/wbe ;",
        "5:30: the discovery 'static' has no service 'wbe'; did you mean 'web'?"
      ),
      ("/svc => ! | /host ;", "5:14: no delegation goes on from /host, and it is no bound name (/#/...)"),
      (
        "/svc => /#/rewrite/hostprt/static ;",
        "5:10: /#/rewrite/hostprt/static rewrites nothing; there is /#/rewrite/hostport, porthost, domain, subdomain; "
          + "did you mean 'hostport'?"
      ),
      (
        "/svc => /#/rewrite/hostport ;",
        "5:10: /#/rewrite/hostport does not say which prefix the rewritten name gets; write /#/rewrite/hostport/prefix"
      ),
      (
        "/svc => /#/rewrite/hostport/x ;",
        "5:10: no delegation goes on from /x, which the rewritten name begins with"
      ),
      ("svc => /#/static ;", "5:2: an entry begins with a prefix such as /svc, not 'svc'"),
      ("/svc /#/static ;", "5:7: '=>' is missing after the prefix /svc"),
      ("/svc = > /#/static ;", "5:7: '=>' is missing after the prefix /svc"),
      ("/svc => ;", "5:10: a name such as /#/static must follow '=>', not ';'"),
      ("/svc =>", "5:9: a name such as /#/static must follow '=>'"),
      ("/svc => static ;", "5:10: a name such as /#/static must follow '=>', not 'static'"),
      ("/svc/ => /#/static ;", "5:2: '/svc/' is not a name: remove the '/' at its end"),
      ("/svc//a => /#/static ;", "5:2: '/svc//a' is not a name: a path segment is empty"),
      ("/svc/.. => /#/static ;", "5:2: '/svc/..' is not a name: '.' and '..' cannot be path segments"),
      ("/svc => /#/static/. ;", "5:10: '/#/static/.' is not a name: '.' and '..' cannot be path segments"),
      ("/ => /#/static ;", "5:2: '/' is not a name: remove the '/' at its end"),
      ("/svc/ü => /#/static ;", "5:7: a name has letters, digits and any of -._~:#$%+=@[], not 'ü'"),
      ("/svc => /#/static, ;", "5:19: a name has letters, digits and any of -._~:#$%+=@[], not ','"),
      ("/#/x => /#/static ;", "5:2: '/#/x' is a bound name; only names that do not begin with /# are delegated"),
      ("/svc => /#/static\n /svc/a => /#/static ;", "6:2: ';' is missing between two entries"),
      ("/svc => /# ;", "5:10: a bound name needs the prefix of a discovery, such as /#/static"),
      ("/svc => /#/sttic ;", "5:10: no discovery has the prefix 'sttic'; did you mean 'static'?"),
      ("/svc => /#/static/wbe ;", "5:10: the discovery 'static' has no service 'wbe'; did you mean 'web'?"),
      (
        "/svc => /host ;",
        "5:10: no delegation goes on from /host, and it is no bound name (/#/...)"
      ),
      (
        "/scv => /#/static ;",
        "5:2: nothing leads to /scv: the names of requests begin with /svc, and no delegation has it at its "
          + "right side; did you mean 'svc'?"
      ),
      (
        "/svc => /#/static ;\n /svc => /#/static ;",
        "6:2: /svc => /#/static is there twice; it is first written at fairlead.yaml:5:2"
      ),
      ("/svc => /svc/x ;", "5:2: this delegation goes in circles: /svc => /svc/x => ..."),
      ("/svc => /svc ;", "5:2: this delegation goes in circles: /svc => /svc"),
    ])
  func refused(table: String, expected: String) {
    #expect(findings(Self.head + "delegations: |1\n\n \(table)\n") == [expected])
  }

  @Test("every mistake of a table is reported, and reading goes on behind the next semicolon")
  func recovery() {
    let table = """
      delegations: |
        /svc/a => !! ; b # not ; here
          ; /svc => /#/static ; /svc/c => /#/static | x ;
        /svc/d => /#/none
      """
    #expect(
      findings(Self.head + table) == [
        "4:13: a name such as /#/static must follow '=>', not '!!'",
        "4:18: an entry begins with a prefix such as /svc, not 'b'",
        "5:49: a name such as /#/static must follow '|', not 'x'",
        "6:13: no discovery has the prefix 'none'",
      ])
  }

  @Test("a circle through several entries shows the way around")
  func circles() {
    let table = "delegations: |\n  /svc => /#/static ;\n  /svc/a => /x ;\n  /x => /y/z ;\n  /y => /svc/a ;\n"
    #expect(
      findings(Self.head + table) == [
        "5:3: this delegation goes in circles: /svc/a => /x => /y/z => /svc/a/z => ...",
        "6:3: this delegation goes in circles: /x => /y/z => /svc/a/z => /x/z => ...",
        "7:3: this delegation goes in circles: /y => /svc/a => /x => /y/z => ...",
      ])
  }

  @Test("a circle through one of several names, or through a *, is found too")
  func circlesInTrees() {
    let table = """
      delegations: |
        /svc => /#/static ;
        /svc/a => /#/static/web |! /svc/b ;
        /svc/b => 3 * /#/static & /svc/a ;
        /v/* => /svc/{1} | /v/{1}/x ;
        /w/*/* => /w/{2} ;
        /svc/c => /v ;
        /svc/d => /w ;
      """
    #expect(
      findings(Self.head + table) == [
        "5:3: this delegation goes in circles: /svc/a => /svc/b => /svc/a",
        "6:3: this delegation goes in circles: /svc/b => /svc/a => /svc/b",
        "7:3: this delegation goes in circles: /v/* => /v/*/x => ...",
      ])
  }

  @Test("right sides are read whole and written as they were read")
  func trees() throws {
    let table = """
      delegations: |
        /svc     => /#/static ;
        /svc/a   => 0.95 * /#/static/web & 0.05 * /#/static/api |! /svc/web | ! ;
        /svc/*/b => /#/static/{1} | ~ | $ ;
        /host    => /#/static ;
        /svc/c   => /#/rewrite/hostport/host ;

      """
    let text = Self.head + table + "services: [{name: /svc/x/b}, {name: /svc/a}, {name: /svc/c}, {name: /svc/web/b}]\n"
    let configuration = try Configuration.parse(text)
    #expect(
      configuration.delegations.map(\.entry.description) == [
        "/svc => /#/static", "/svc/a => 0.95 * /#/static/web & 0.05 * /#/static/api |! /svc/web | !",
        "/svc/*/b => /#/static/{1} | ~ | $", "/host => /#/static", "/svc/c => /#/rewrite/hostport/host",
      ])
    let again = try Configuration.parse(configuration.render())
    #expect(again.delegations.map(\.entry) == configuration.delegations.map(\.entry))
  }

  @Test("the prefix of the rewriters is no discovery's")
  func reserved() {
    let text = """
      listeners: [{name: a, address: ":0"}]
      discovery: [{kind: static, prefix: rewrite, services: {}}]
      delegations: ""
      """
    #expect(findings(text).first == "2:36: /#/rewrite is the proxy's own; give the discovery another prefix")
  }

  @Test("services that no delegation leads to are reported with the entry that would do it")
  func noTable() {
    let expected =
      "2:36: no delegation leads to the prefix 'static', so no request finds its services; "
      + "write: delegations: /svc => /#/static ;"
    #expect(findings(Self.head) == [expected])
  }

  @Test(
    "policy for a name that leads to no service is refused",
    arguments: [
      (
        "/svc/wbe",
        "4:19: no service is named /svc/wbe: no delegation leads from it to an endpoint; did you mean '/svc/web'?"
      ),
      ("/other", "4:19: no service is named /other: no delegation leads from it to an endpoint"),
      ("/#/static/ap", "4:19: the discovery 'static' has no service 'ap'; did you mean 'api'?"),
      ("/#/dns", "4:19: no discovery has the prefix 'dns'"),
    ])
  func policies(name: String, expected: String) {
    let text = Self.head + "delegations: /svc => /#/static ;\nservices: [{name: \(name)}]\n"
    #expect(findings(text) == [expected])
  }

  @Test(
    "policy for names that lead on is taken",
    arguments: ["/svc", "/svc/web", "/svc/web/x", "/#/static", "/#/static/api"])
  func goodPolicies(name: String) {
    #expect(findings(Self.head + "delegations: /svc => /#/static ;\nservices: [{name: \"\(name)\"}]\n") == [])
  }

  @Test("names of hosts are taken in lower case, as requests have them, wherever they are written")
  func capitals() throws {
    let text = """
      listeners: [{name: a, address: ":0"}]
      discovery: [{kind: static, prefix: Static, services: {Web: [], api: []}}]
      delegations: |
        /svc => /#/Static ;
        /svc/Web => /#/Static/Web ;
        /svc/Shop/Cart => /svc/API ;
      services: [{name: /svc/Web, limits: {pending: 7}}, {name: /#/Static/Web, limits: {pending: 8}}]
      """
    let configuration = try Configuration.parse(text)
    #expect(
      configuration.delegations.map(\.entry.description) == [
        "/svc => /#/Static", "/svc/web => /#/Static/Web", "/svc/shop/Cart => /svc/api",
      ])
    #expect(configuration.services.map(\.name.description) == ["/svc/web", "/#/Static/Web"])
    for name in ["/svc/web", "/svc/Web", "/svc/WEB/x"] {
      #expect(configuration.policy(forServiceName: name).limits.pending == 7, "\(name)")
    }
    #expect(configuration.policy(forServiceName: "/#/static/Web").limits.pending == 1024)
    #expect(try Configuration.parse(configuration.render()).services == configuration.services)
  }

  @Test("a service with capitals that no entry spells is never found, and that is said")
  func unreachableCapitals() {
    let text = """
      listeners: [{name: a, address: ":0"}]
      discovery: [{kind: static, prefix: static, services: {web: [], Api: []}}]
      delegations: /svc => /#/static ;
      """
    #expect(
      findings(text) == [
        "2:64: no request finds the service 'Api': hosts are compared in lower case; write api, or lead to it with "
          + "/svc/api => /#/static/Api ;"
      ])
    #expect(findings(text + "\nservices: [{name: /svc/Api}]").count == 1)
    #expect(findings(text + "\n  /svc/api => /n/Api ; /n => /#/static ;") == [])
  }

  @Test("a large table of names that match each other is checked in bounded time")
  func manyEntries() {
    var table = "delegations: |\n"
    for index in 0..<1_001 { table += "  /svc => /svc/a\(index % 7)/\(index) ;\n" }
    let services = "services: [" + (0..<500).map { "{name: /svc/a0/\($0)}" }.joined(separator: ", ") + "]\n"
    #expect(findings(Self.head + table + services).contains("1004:3: the delegation table has more than 1000 entries"))
  }
}
