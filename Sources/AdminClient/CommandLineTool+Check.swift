// `fairlead check`: is this node set up well? Needs no daemon, and says so when there is none.

import Base
import Capture
import Glibc
import Telemetry

extension CommandLineTool {
  func check(_ invocation: Invocation, _ daemon: AdminConnection) -> Int32 {
    let file = invocation.options["--config"] ?? defaultConfiguration
    let configuration: CheckFacts.Configuration
    switch self.configuration.prepareCapture(file) {
    case .ready(let settings): configuration = .ready(file: file, settings)
    case .refused: configuration = access(file, F_OK) == 0 ? .refused(file: file) : .missing(file: file)
    }
    let host = CaptureHost(stateDirectory: invocation.options["--state"] ?? CaptureHost.defaultStateDirectory)
    let check = Check(
      CheckFacts.gather(daemon, configuration: configuration, ownVersion: build.version, host: host))
    if invocation.isJSON { write(check) } else { console.output(check.text) }
    return check.hasFailure ? ExitCode.failure : ExitCode.success
  }

  private func write(_ check: Check) {
    printJSON { json in
      json.member("ok", !check.hasFailure)
      json.array("findings") {
        for finding in check.findings {
          $0.object {
            $0.member("group", finding.group)
            $0.member("grade", finding.grade.word)
            $0.member("text", finding.text)
            $0.member("remedy", finding.remedy)
          }
        }
      }
    }
  }
}

extension Check {
  /// Groups with a title, a mark before each line, the remedy under what is not well.
  var text: String {
    var text = ""
    var group = ""
    for finding in findings {
      if finding.group != group {
        text += (group.isEmpty ? "" : "\n") + "\(finding.group)\n"
        group = finding.group
      }
      text += "  \(finding.grade.rawValue) \(printable(finding.text))\n"
      if let remedy = finding.remedy { text += "      → \(printable(remedy))\n" }
    }
    let failures = findings.count { $0.grade == .failure }
    let warnings = findings.count { $0.grade == .warning }
    return text + "\n\(findings.count - failures - warnings) √  \(warnings) ‼  \(failures) ×\n"
  }
}
