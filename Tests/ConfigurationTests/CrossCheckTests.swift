// What is wrong only together: names and addresses that are given twice.

import Configuration
import Testing

@Suite("Cross-checks")
struct CrossCheckTests {
  @Test(
    "two sockets cannot have one address",
    arguments: [
      (
        "127.0.0.1:80", "127.0.0.1:80",
        "2:24: the address 127.0.0.1:80 is taken; it is first written at fairlead.yaml:1:32"
      ),
      ("[::1]:80", "[0:0::1]:80", "2:24: the address [::1]:80 is taken; it is first written at fairlead.yaml:1:32"),
      (
        ":80", "127.0.0.1:80",
        "2:24: the address 127.0.0.1:80 is taken by [::]:80; it is first written at fairlead.yaml:1:32"
      ),
      (
        "0.0.0.0:80", "127.0.0.1:80",
        "2:24: the address 127.0.0.1:80 is taken by 0.0.0.0:80; it is first written at fairlead.yaml:1:32"
      ),
      ("[::1]:80", ":80", "2:24: the address [::]:80 is taken by [::1]:80; it is first written at fairlead.yaml:1:32"),
      ("unix:/a", "unix:/a", "2:24: the address unix:/a is taken; it is first written at fairlead.yaml:1:32"),
    ])
  func addresses(first: String, second: String, expected: String) {
    #expect(
      findings("listeners: [{name: a, address: \"\(first)\"},\n  {name: b, address:   \"\(second)\"}]\n")
        == [expected])
  }

  @Test(
    "addresses that differ stand beside each other",
    arguments: [
      (":0", ":0"), ("127.0.0.1:80", "127.0.0.1:81"), ("127.0.0.1:80", "[::1]:80"), ("0.0.0.0:80", "[::1]:80"),
      ("unix:/a", "unix:/b"), ("127.0.0.1:80", "127.0.0.2:80"),
    ])
  func distinct(first: String, second: String) {
    #expect(findings("listeners: [{name: a, address: \"\(first)\"}, {name: b, address: \"\(second)\"}]\n") == [])
  }

  @Test("the admin's sockets and a listener's collide too")
  func admin() {
    let http = "listeners: [{name: a, address: \":9990\"}]\nadmin: {http: 127.0.0.1:9990}\n"
    #expect(
      findings(http) == [
        "2:15: the address 127.0.0.1:9990 is taken by [::]:9990; it is first written at fairlead.yaml:1:32"
      ])
    let unix = "listeners: [{name: a, address: \"unix:/run/fairlead/admin.sock\"}]\n"
    #expect(findings(unix) == ["1:32: the address unix:/run/fairlead/admin.sock is taken by the admin socket"])
  }

  @Test("listener names and discovery prefixes are given once")
  func names() {
    let listeners = "listeners: [{name: a, address: \":0\"}, {name: a, address: \":0\"}]\n"
    #expect(findings(listeners) == ["1:46: the listener name 'a' is taken; it is first written at fairlead.yaml:1:20"])
    let prefixes = """
      listeners: [{name: a, address: ":0"}]
      discovery: [{kind: static, prefix: s}, {kind: static, prefix: s}]
      delegations: /svc => /#/s ;
      """
    #expect(findings(prefixes) == ["2:63: the prefix 's' is taken; it is first written at fairlead.yaml:2:36"])
  }

  @Test("what was wrong already is not reported again as missing somewhere else")
  func noFollowUps() {
    let text = """
      listeners: [{name: a, address: ":0"}]
      discovery: [{kind: static, prefix: [], services: {web: []}}, {kind: file, prefix: file, directory: /etc}]
      delegations: |
        /svc => /#/static ;
        /svc/a => /#/file/a ;
        /svc/b => !! ;
      services: [{name: /svc/b}]
      """
    #expect(
      findings(text) == [
        "2:36: 'discovery[0].prefix' must be text, not a list",
        "6:13: a name such as /#/static must follow '=>', not '!!'",
      ])
  }
}
