// `fairlead drain`: asks the daemon to finish, and shows how far it is until it has ended.

import Base

extension CommandLineTool {
  func drain(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    _ = try daemon.post("/drain")
    if invocation.has("--no-wait") {
      report(invocation, ended: false)
      return ExitCode.success
    }
    var shown = ""
    while true {
      do throws(AdminClientError) {
        let status = try daemon.decoded(StatusAnswer.self, "/status")
        let line =
          "draining: \(status.inFlightRequests) requests in flight, \(status.downstreamConnections) connections open"
        if line != shown && !invocation.isJSON {
          // On a terminal the line is written over; elsewhere every change is a line of its own.
          console.output(console.isTerminal ? "\r\(line)\u{1B}[K" : line + "\n")
          shown = line
        }
      } catch {
        // The daemon goes between two questions or in the middle of one.
        switch error {
        case .notRunning, .failed:
          if console.isTerminal && !shown.isEmpty { console.output("\n") }
          report(invocation, ended: true)
          return ExitCode.success
        case .notAllowed, .silent, .badAnswer, .refused:
          if console.isTerminal && !shown.isEmpty { console.output("\n") }
          throw error
        }
      }
      pause(.milliseconds(200))
    }
  }

  private func report(_ invocation: Invocation, ended: Bool) {
    if invocation.isJSON {
      printJSON { $0.member("state", ended ? "ended" : "draining") }
    } else {
      console.output(ended ? "fairleadd has ended\n" : "draining\n")
    }
  }
}
