// What the suites share: the trait that lets them run, and the assertions that many of them make.

import Glibc
import TestSupport
import Testing

/// Every suite against the daemon carries this: without a built daemon it is skipped, and says why.
let needsDaemon = ConditionTrait.enabled(
  if: FairleadProcess.isAvailable, Comment(rawValue: FairleadProcess.unavailable))

/// Asserts that `response` is one the proxy made: `fairlead-code`, a one-line `l5d-err`, and the counter of that code.
func expectProxyMade(
  _ response: Message, _ statuses: [Int], by daemon: FairleadProcess, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  #expect(statuses.contains(response.status), "\(response.head)", sourceLocation: sourceLocation)
  let code = try #require(response["fairlead-code"], "\(response.head)", sourceLocation: sourceLocation)
  #expect(code.wholeMatch(of: /FL\d{4}/) != nil, sourceLocation: sourceLocation)
  let reason = try #require(response["l5d-err"], "\(response.head)", sourceLocation: sourceLocation)
  #expect(!reason.isEmpty, sourceLocation: sourceLocation)
  #expect(try daemon.waitForError(code), "\(code) is not counted", sourceLocation: sourceLocation)
}

/// Asserts that a connection ends by itself now, with nothing more sent.
func expectClosed(_ client: RawClient, sourceLocation: SourceLocation = #_sourceLocation) throws {
  let (bytes, ending) = try client.readToEnd()
  #expect(bytes.isEmpty, "\(String(decoding: bytes.prefix(300), as: UTF8.self))", sourceLocation: sourceLocation)
  #expect(ending != .timedOut, "still open", sourceLocation: sourceLocation)
}

/// Writes another configuration and asks for it by SIGHUP; waits until the daemon has said what came of it.
func reload(_ daemon: FairleadProcess, _ text: String) throws {
  let before = daemon.reloadReports
  _ = try daemon.directory.write("fairlead.yaml", text)
  daemon.child.signal(SIGHUP)
  try #require(eventually { daemon.reloadReports > before }, "\(daemon.child.standardError)")
}

extension FairleadProcess {
  /// How many reloads the daemon has told the outcome of.
  fileprivate var reloadReports: Int { child.standardError.ranges(of: "fairleadd: reload (").count }
}

/// Bytes for a test's output, with control characters visible.
func printable(_ text: String) -> String {
  let shown = text.unicodeScalars.prefix(120).map { $0.value < 32 ? "\\x\(String($0.value, radix: 16))" : "\($0)" }
  return shown.joined() + (text.unicodeScalars.count > 120 ? "…" : "")
}
