// `identifiers`: what requests are called.

import Configuration
import Policy
import Testing

@Suite("Identifiers")
struct IdentifierTests {
  private static let head = """
    listeners: [{name: a, address: ":0"}]
    discovery: [{kind: static, prefix: static, services: {web: []}}]
    delegations: /svc => /#/static ;

    """

  @Test("a host, where nothing else is written")
  func defaults() throws {
    #expect(try Configuration.parse(Self.head).identifiers == [.host()])
  }

  @Test("all of them, and what is written reads back")
  func all() throws {
    let text =
      Self.head + """
        identifiers:
          - invoke
          - header
          - {kind: header, name: X-Name}
          - method-host
          - {kind: path, segments: 2, consume: true}
          - path
          - {kind: host, port: true}
          - {kind: static, name: /svc/Web}
        """
    let configuration = try Configuration.parse(text)
    let expected: [Identifier] = [
      .invoke, .header(), .header(name: "x-name"), .methodHost, .path(segments: 2, consume: true), .path(),
      .host(keepsPort: true), .fixed(try Path(parsing: "/svc/web")),
    ]
    #expect(configuration.identifiers == expected)
    #expect(try Configuration.parse(configuration.render()).identifiers == expected)
  }

  @Test(
    "what makes no sense is refused at its place",
    arguments: [
      ("[]", "4:14: 'identifiers' is empty, so no request has a name; write [host]"),
      (
        "[hots]",
        "4:15: 'identifiers[0]' must be one of host, method-host, path, header, static, invoke, not 'hots'; "
          + "did you mean 'host'?"
      ),
      ("[static]", "4:15: 'static' needs a name; write {kind: static, name: /svc/web}"),
      ("[{kind: static}]", "4:15: 'name' is missing in identifiers[0]; write name: /svc/web"),
      ("[{kind: static, name: web}]", "4:36: 'web' is not a logical name; write a path such as /svc/web"),
      ("[{kind: static, name: \"/#/x/y\"}]", "4:36: '/#/x/y' is not a logical name; write a path such as /svc/web"),
      ("[host, host]", "4:21: 'identifiers[1]' is there twice"),
      (
        "[{kind: static, name: /svc/web}, host]",
        "4:47: 'identifiers[1]' is never tried: static /svc/web before it always applies"
      ),
      ("[{kind: path, segments: 0}]", "4:38: 'identifiers[0].segments' must be between 1 and 16, not 0"),
      ("[{kind: path, segments: 17}]", "4:38: 'identifiers[0].segments' must be between 1 and 16, not 17"),
      ("[{kind: host, consume: true}]", "4:28: unknown key 'consume' in identifiers[0]"),
      ("[{kind: header, name: \"a b\"}]", "4:36: 'a b' is not the name of a header field; write one such as l5d-name"),
      ("{kind: host}", "4:14: 'identifiers' must be a list, not a mapping"),
    ])
  func refused(value: String, expected: String) {
    #expect(findings(Self.head + "identifiers: \(value)\n") == [expected])
  }

  @Test("no more than sixteen are tried")
  func many() {
    let paths = (1...16).map { "{kind: path, segments: \($0)}" }
    #expect(findings(Self.head + "identifiers: [\(paths.joined(separator: ", "))]\n") == [])
    let more = "identifiers: [\(paths.joined(separator: ", ")), host]\n"
    #expect(findings(Self.head + more).first?.hasSuffix("'identifiers' has more than 16 entries") == true)
  }

  @Test("a name that identifiers give leads on from there")
  func reached() {
    let table = "delegations: \"/host => /#/static ; /svc => /#/static ;\"\n"
    let start = Self.head.split(separator: "\n").prefix(2).joined(separator: "\n") + "\n" + table
    #expect(findings(start).count == 1)
    #expect(findings(start + "identifiers: [{kind: static, name: /host/web}]\n") == [])
  }
}

@Suite("Trust")
struct TrustTests {
  @Test(
    "captured clients of this host steer their requests, others where it is said",
    arguments: [
      ("capture: redirect", Configuration.Listener.Trust.clients), ("capture: tproxy", .clients),
      ("capture: none", .none),
      ("capture: redirect, direction: inbound", .none), ("capture: redirect, trust: none", .none),
      ("trust: clients", .clients), ("direction: inbound, trust: clients", .clients),
    ])
  func trusts(keys: String, expected: Configuration.Listener.Trust) throws {
    let configuration = try Configuration.parse("listeners: [{name: a, address: \"0.0.0.0:0\", \(keys)}]\n")
    #expect(configuration.listeners[0].trust == expected)
  }
}
