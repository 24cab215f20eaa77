// `/names` and `fairlead names`: the delegation of a name, for scripts and for people.

import Base
import Policy
import Testing

@testable import Admin
@testable import AdminClient

@Suite struct NamesTests {
  private func table(_ text: String) -> [DelegationEntry] {
    DelegationParser(Array(text.unicodeScalars), maximumEntryCount: 100).entries.map(\.value)
  }

  private func server(_ delegation: String, _ names: [String: NameLookup]) throws -> RunningServer {
    let server = try RunningServer()
    let entries = table(delegation)
    server.node.set {
      $0.delegation = entries
      $0.names = names
    }
    return server
  }

  private func found(_ names: String...) throws -> [String: NameLookup] {
    var known: [String: NameLookup] = [:]
    for name in names { known[name] = .service(try Path(parsing: name), segmentCount: 3) }
    return known
  }

  private func run(_ server: RunningServer, _ arguments: String...) -> Run {
    Run(["--socket", server.path] + arguments)
  }

  @Test("the delegation is shown as a tree, with the line of each entry and what discovery says")
  func tree() throws {
    let server = try server(
      "/svc => /#/file | /#/dns ; /svc/web => 0.95 * /#/file/web & 0.05 * /#/file/canary |! /#/file/old",
      found("/#/file/web", "/#/file/old"))
    let run = run(server, "names", "/svc/web")
    #expect(
      run.output == """
        /svc/web
          /svc/web => 0.95 * /#/file/web & 0.05 * /#/file/canary |! /#/file/old   (f.yaml:2)
            the first of these
              shares
                0.95 * /#/file/web   2 of 3 endpoints live
                0.05 * /#/file/canary   no such name
              |! /#/file/old   2 of 3 endpoints live
          /svc => /#/file | /#/dns   (f.yaml:1)   not tried

          100.00%  /#/file/web
        stands in  /#/file/old

        """)
    #expect(run.code == ExitCode.success)
  }

  @Test("a host is short for its name, and a delegation can be brought along")
  func override() throws {
    let server = try server("/svc => /#/file", found("/#/file/web", "/#/file/new"))
    let plain = run(server, "names", "WEB:80")
    #expect(plain.output.hasPrefix("/svc/web\n") && plain.code == ExitCode.success)
    let run = run(server, "names", "/svc/web", "--dtab", "/svc/web => /#/file/new & /#/file/web")
    #expect(
      run.output == """
        /svc/web
          /svc/web => /#/file/new & /#/file/web   (dtab)
            shares
              1 * /#/file/new   2 of 3 endpoints live
              1 * /#/file/web   2 of 3 endpoints live
          /svc => /#/file   (f.yaml:1)   not tried

           50.00%  /#/file/new
           50.00%  /#/file/web

        """)
  }

  @Test(
    "a name that leads nowhere says why, and ends with 1",
    arguments: [
      ("/svc/no", "negative: /svc/no is not known: tried /#/file/no"),
      ("/host/x", "negative: no delegation leads from /host/x to a discovery source"),
      ("/svc/round", "failed: the delegation goes round in a circle: /svc/round => /svc/trip => /svc/round"),
      ("/svc/never", "failed: the delegation ends in a failure (!): /svc/never"),
      ("/svc/later", "pending: not known yet: /#/file/later"),
    ])
  func nowhere(name: String, reason: String) throws {
    var known = try found("/#/file/web")
    known["/#/file/later"] = .pending
    let server = try server(
      "/svc => /#/file ; /svc/round => /svc/trip ; /svc/trip => /svc/round ; /svc/never => !", known)
    let run = run(server, "names", name)
    #expect(run.output.hasSuffix("\n\(reason)\n"))
    #expect(run.code == ExitCode.failure)
  }

  @Test("the same as JSON, for scripts")
  func json() throws {
    let server = try server("/svc => 3 * /#/file & /#/dns |! $", found("/#/file/web", "/#/dns/web"))
    let answer = try AdminConnection(socket: server.path).decoded(NamesAnswer.self, "/names?path=/svc/web")
    #expect(answer.path == "/svc/web" && answer.outcome == "bound" && !answer.cut)
    #expect(answer.destinations.map(\.service) == ["/#/file/web", "/#/dns/web"])
    #expect(answer.destinations.map(\.share) == [0.75, 0.25])
    #expect(answer.steps.map(\.kind) == ["name", "entry", "alternatives", "union", "name", "name", "empty"])
    #expect(answer.steps.map(\.depth) == [0, 1, 2, 3, 4, 4, 3])
    #expect(answer.steps[1].file == "f.yaml" && answer.steps[1].line == 1)
    #expect(run(server, "names", "web", "-o", "json").output.contains("\"column\": 3"))
  }

  @Test(
    "what is no name or no delegation is refused with its place",
    arguments: [
      ("/names", "which name? write /names?path=/svc/web"),
      ("/names?path=/svc//x", "'/svc//x' is not a name: a path segment is empty (at byte 5)"),
      (
        "/names?path=a%20b",
        "'a b' is neither a name such as /svc/web nor a host: the host has byte 0x20, which no name has"
      ),
      ("/names?path=web&dtab=/svc", "dtab, column 5: '=>' is missing after the prefix /svc"),
    ])
  func refused(target: String, message: String) throws {
    let server = try server("/svc => /#/file", [:])
    let client = try RawClient(server)
    client.send("GET \(target) HTTP/1.1\r\nhost: f\r\nconnection: close\r\n\r\n")
    let answer = client.receiveAll()
    #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.hasSuffix("\r\n\r\n\(message)\n"))
  }
}
