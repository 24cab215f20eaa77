// The policy of a service with the lines that decide it.

import Policy
import Testing

@testable import Configuration

@Suite("The settings of a policy")
struct PolicySettingsTests {
  private let text = """
    listeners: [{name: outbound, address: "127.0.0.1:4140"}]
    discovery: [{kind: static, prefix: static, services: {web: [], api: []}}]
    delegations: /svc => /#/static ;
    services:
      - name: /svc
        timeouts: { request: 9s, connect: 1s }
        balancer: { hash: { header: X-User }, kind: maglev }
      - name: /svc/WEB
        timeouts:
          connect: 2s
        healthCheck: {}
        limits: ~
    """

  private func settings(_ name: String) throws -> [String: String] {
    let configuration = try Configuration.parse(text, name: "f.yaml", hostName: "host")
    let settings = configuration.policySettings(for: try Path(parsing: name))
    return Dictionary(uniqueKeysWithValues: settings.map { ($0.name, "\($0.value) \($0.place ?? "default")") })
  }

  @Test("are the defaults, what matching entries say over them, and where")
  func lines() throws {
    let web = try settings("/svc/web/x")
    #expect(web["timeouts.request"] == "9s f.yaml:6" && web["timeouts.connect"] == "2s f.yaml:10")
    #expect(web["timeouts.idle"] == "60s default" && web["retries.limit"] == "3 default")
    #expect(web["balancer.kind"] == "maglev f.yaml:7" && web["balancer.hash.header"] == "x-user f.yaml:7")
    let api = try settings("/svc/api")
    #expect(api["timeouts.connect"] == "1s f.yaml:6")
    #expect(try settings("/other")["timeouts.request"] == "15s default")
  }

  @Test("are those of the rule that has the request, where it has some of its own")
  func ofRule() throws {
    let routes = """
      routes:
        - match: { hosts: [a] }
          to: /svc/web
          timeout: 200ms
          retries: { limit: 1, backoff: { min: 5ms } }
        - { match: { hosts: [b] }, to: /svc/web }
      """
    let configuration = try Configuration.parse(text + "\n" + routes, name: "f.yaml", hostName: "host")
    func settings(_ route: Int) throws -> [String: String] {
      let settings = configuration.policySettings(
        for: try Path(parsing: "/svc/web"), route: configuration.routes[route])
      return Dictionary(uniqueKeysWithValues: settings.map { ($0.name, "\($0.value) \($0.place ?? "default")") })
    }
    let first = try settings(0)
    #expect(first["timeouts.request"] == "200ms f.yaml:14:5" && first["retries.limit"] == "1 f.yaml:14:5")
    #expect(first["retries.backoff.min"] == "5ms f.yaml:14:5" && first["retries.classifier"] == "read-5xx default")
    #expect(try settings(1) == self.settings("/svc/web"))
  }

  @Test("say of every default what the policy has")
  func complete() throws {
    let count = ConfigurationKey.all(of: Configuration.ServiceEntry.keys).count { $0.key.defaultText != nil }
    #expect(try settings("/other").count == count)
  }

  @Test("move with their lines, and entries stay equal")
  func moved() throws {
    let one = try Configuration.parse(text, hostName: "host")
    let other = try Configuration.parse(text.replacing("services:\n", with: "services:\n\n"), hostName: "host")
    #expect(one == other && !one.isWritten(as: other) && one.isWritten(as: one))
  }
}
