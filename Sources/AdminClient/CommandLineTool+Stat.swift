// `fairlead stat`: what each service did in a short window. The daemon only counts; asking twice and taking the difference
// gives the rate and the quantiles of exactly the time between.

import Base
import Glibc
import Telemetry

/// What one service did between two moments.
struct ServiceRate: Equatable {
  var name: String
  var requests: UInt64
  var succeeded: UInt64
  var answered: UInt64
  var perSecond: Double
  var latency: HistogramSnapshot
}

/// The difference of two answers; services only the later one knows count from zero.
func rates(from earlier: ServicesAnswer, to later: ServicesAnswer) -> [ServiceRate] {
  let before = Dictionary(earlier.services.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
  let nanoseconds =
    later.monotonicNanoseconds > earlier.monotonicNanoseconds
    ? later.monotonicNanoseconds - earlier.monotonicNanoseconds : 0
  return later.services.map { service in
    let old = before[service.name]
    // A counter that went back was started anew.
    func grown(_ now: UInt64, _ then: UInt64?) -> UInt64 { now >= then ?? 0 ? now - (then ?? 0) : now }
    let classes = (1...5).map { grown(service.responses["\($0)xx"] ?? 0, old?.responses["\($0)xx"]) }
    let answered = classes.reduce(0, &+)
    let requests = answered &+ grown(service.unanswered, old?.unanswered)
    let latency = service.latency.histogram
    return ServiceRate(
      name: service.name, requests: requests, succeeded: answered &- classes[4], answered: answered,
      perSecond: nanoseconds == 0 ? 0 : Double(requests) / (Double(nanoseconds) / 1e9),
      latency: old.map { latency.since($0.latency.histogram) } ?? latency)
  }
}

extension CommandLineTool {
  func stat(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    let text = invocation.options["--window"] ?? "1s"
    let window: Duration
    do throws(TextError) {
      window = try Duration(parsing: text)
    } catch {
      console.errors("fairlead: --window '\(printable(text))': \(error)\n")
      return ExitCode.usage
    }
    guard window >= .milliseconds(100), window <= .seconds(600) else {
      console.errors("fairlead: --window is 100ms to 10m, not \(text)\n")
      return ExitCode.usage
    }

    let earlier = try daemon.decoded(ServicesAnswer.self, "/services")
    pause(window)
    let later = try daemon.decoded(ServicesAnswer.self, "/services")
    let wanted = Set(invocation.operands)
    let shown = rates(from: earlier, to: later).filter { wanted.isEmpty || wanted.contains($0.name) }
    let missing = wanted.subtracting(later.services.map(\.name)).sorted()
    if invocation.isJSON { printRates(shown, window) } else { printTable(shown) }
    return report(missing: missing, of: later)
  }

  private func printTable(_ rates: [ServiceRate]) {
    var table = Table([
      ("SERVICE", .left), ("SUCCESS", .right), ("RPS", .right), ("P50", .right), ("P95", .right), ("P99", .right),
    ])
    for rate in rates {
      table.add(
        [rate.name, Display.share(rate.succeeded, of: rate.answered), Display.fixed(rate.perSecond, 1)]
          + [0.5, 0.95, 0.99].map { Display.duration(nanoseconds: rate.latency.quantileNanoseconds($0)) })
    }
    console.output(table.text)
  }

  private func printRates(_ rates: [ServiceRate], _ window: Duration) {
    printJSON { json in
      json.member("windowSeconds", Double(window.wholeNanoseconds) / 1e9)
      json.array("services") {
        for rate in rates {
          $0.object {
            $0.member("name", rate.name)
            $0.member("requests", rate.requests)
            $0.key("success")
            if rate.answered == 0 { $0.null() } else { $0.number(Double(rate.succeeded) / Double(rate.answered)) }
            $0.member("requestsPerSecond", rate.perSecond)
            for (name, fraction) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
              $0.key("\(name)Milliseconds")
              if let quantile = rate.latency.quantileNanoseconds(fraction) {
                $0.number(Double(quantile) / 1e6)
              } else {
                $0.null()
              }
            }
          }
        }
      }
    }
  }
}

/// Lets time pass.
func pause(_ duration: Duration) {
  let deadline = MonotonicInstant.now().advanced(byNanoseconds: duration.wholeNanoseconds)
  while true {
    let left = deadline.nanoseconds(since: .now())
    if left == 0 { return }
    poll(nil, 0, Int32(min(left / 1_000_000 + 1, 60_000)))
  }
}
