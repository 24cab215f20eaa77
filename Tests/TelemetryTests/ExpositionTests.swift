// The text formats: exact small documents, escaping, negotiation, and promtool's opinion of everything at once.

import Glibc
import Testing

@testable import Telemetry

@Suite struct ExpositionTests {
  @Test("counters and gauges in Prometheus's text")
  func prometheusText() {
    let registry = Registry(shardCount: 1)
    registry.counter("b_total", help: "Bs.", labels: ["x", "y"]).cell(shard: 0, labels: ["1", "q"]).add(12)
    registry.gauge("a_seconds", help: "As.", unit: .seconds).cell(shard: 0).set(-1_500_000_000)
    registry.counter("empty_total", help: "No series.", labels: ["x"]).retire(labels: ["none"])
    #expect(
      String(decoding: registry.render(.prometheus), as: UTF8.self) == """
        # HELP a_seconds As.
        # TYPE a_seconds gauge
        a_seconds -1.5
        # HELP b_total Bs.
        # TYPE b_total counter
        b_total{x="1",y="q"} 12

        """)
  }

  @Test("the same in OpenMetrics")
  func openMetrics() {
    let registry = Registry(shardCount: 1)
    registry.counter("b_bytes_total", help: "Say \"b\".", unit: .bytes).cell(shard: 0).add(12)
    #expect(
      String(decoding: registry.render(.openMetrics), as: UTF8.self) == """
        # HELP b_bytes Say \\"b\\".
        # TYPE b_bytes counter
        # UNIT b_bytes bytes
        b_bytes_total 12
        # EOF

        """)
  }

  @Test("a histogram's cumulative buckets, sum in seconds and count")
  func histogram() {
    let registry = Registry(shardCount: 1)
    let cell = registry.histogram("h_seconds", help: "H.", labels: ["s"]).cell(shard: 0, labels: ["w"])
    for nanoseconds: UInt64 in [32_768, 32_769, 1_000_000, 200_000_000_000] { cell.record(nanoseconds: nanoseconds) }
    let lines = String(decoding: registry.render(.prometheus), as: UTF8.self).split(separator: "\n").map(String.init)
    #expect(lines.contains("h_seconds_bucket{s=\"w\",le=\"0.000032768\"} 1"))
    #expect(lines.contains("h_seconds_bucket{s=\"w\",le=\"0.000065536\"} 2"))
    #expect(lines.contains("h_seconds_bucket{s=\"w\",le=\"0.001048576\"} 3"))
    #expect(lines.contains("h_seconds_bucket{s=\"w\",le=\"34.359738368\"} 3"))
    #expect(lines.contains("h_seconds_bucket{s=\"w\",le=\"+Inf\"} 4"))
    #expect(lines.contains("h_seconds_sum{s=\"w\"} 200.001065537"))
    #expect(lines.contains("h_seconds_count{s=\"w\"} 4"))
    #expect(lines.count == 2 + 21 + 3)
  }

  @Test(
    "label values and help are escaped",
    arguments: [("plain", "plain"), ("a\"b", "a\\\"b"), ("a\\b", "a\\\\b"), ("a\nb", "a\\nb"), ("\u{e4}", "\u{e4}")])
  func escaping(raw: String, escaped: String) {
    #expect(escapeLabel(raw) == escaped)
  }

  @Test("Prometheus's help keeps its quotes")
  func helpEscaping() {
    #expect(escapeHelp("a\"b\\c\nd", quotes: false) == "a\"b\\\\c\\nd")
  }

  @Test(
    "the format follows Accept",
    arguments: [
      (nil, ExpositionFormat.prometheus),
      ("", .prometheus), ("*/*", .prometheus), ("text/html", .prometheus),
      ("application/openmetrics-text; version=1.0.0", .openMetrics),
      ("application/openmetrics-text", .openMetrics),
      ("application/openmetrics-text;version=0.0.1", .prometheus),
      (
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
          + "text/plain;version=0.0.4;q=0.3,*/*;q=0.2", .openMetrics
      ),
      ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.5", .prometheus),
      ("application/openmetrics-text;q=0", .prometheus), ("application/openmetrics-text;q=x", .prometheus),
      (",;,", .prometheus),
    ])
  func negotiation(accept: String?, format: ExpositionFormat) {
    #expect(ExpositionFormat.negotiated(accept: accept) == format)
  }

  @Test("a decimal fraction is exact", arguments: [(UInt64(0), "0"), (1, "0.000000001"), (1_500_000_000, "1.5")])
  func decimals(value: UInt64, text: String) {
    var output = TextOutput()
    output.append(value, digits: 9)
    #expect(output.string == text)
  }

  @Test("the largest number is printed")
  func largest() {
    var output = TextOutput()
    output.append(UInt64.max)
    output.append(Int64.min)
    #expect(output.string == "18446744073709551615-9223372036854775808")
  }

  @Test("the flat form is Linkerd's: paths, milliseconds, quantiles")
  func flat() {
    let registry = Registry(shardCount: 1)
    let metrics = ProxyMetrics(registry: registry)
    metrics.requests.cell(shard: 0, labels: ["outbound", "/svc/web", "2xx"]).add(10)
    metrics.requests.cell(shard: 0, labels: ["outbound", "/svc/web", "5xx"]).add(2)
    metrics.requestDuration.cell(shard: 0, labels: ["outbound", "/svc/web"]).record(nanoseconds: 3_000_000)
    metrics.errors.cell(shard: 0, labels: ["FL2103"]).increment()
    metrics.loopLag.cell(shard: 0, labels: ["0"]).set(1_500_000)
    let text = String(decoding: registry.renderFlatJSON(), as: UTF8.self)
    #expect(
      text == """
        {
          "errors/code/FL2103": 1,
          "rt/outbound/service/svc/web/request_latency_ms.count": 1,
          "rt/outbound/service/svc/web/request_latency_ms.sum": 3,
          "rt/outbound/service/svc/web/request_latency_ms.avg": 3,
          "rt/outbound/service/svc/web/request_latency_ms.max": 3.145728,
          "rt/outbound/service/svc/web/request_latency_ms.p50": 3.014656,
          "rt/outbound/service/svc/web/request_latency_ms.p90": 3.014656,
          "rt/outbound/service/svc/web/request_latency_ms.p95": 3.014656,
          "rt/outbound/service/svc/web/request_latency_ms.p99": 3.014656,
          "rt/outbound/service/svc/web/request_latency_ms.p9990": 3.014656,
          "rt/outbound/service/svc/web/request_latency_ms.p9999": 3.014656,
          "rt/outbound/service/svc/web/requests": 12,
          "rt/outbound/service/svc/web/status/2xx": 10,
          "rt/outbound/service/svc/web/status/5xx": 2,
          "shard_loop_lag/shard/0_ms": 1.5
        }

        """)
  }

  @Test("promtool accepts what is exported", .enabled(if: promtool != nil, "promtool is not installed"))
  func promtoolAgrees() throws {
    let registry = Registry(shardCount: 2)
    let metrics = ProxyMetrics(registry: registry)
    metrics.publish(BuildInformation(), registry: registry)
    metrics.requests.cell(shard: 0, labels: ["o", "a\"b\\c\nd \u{e4}", "2xx"]).add(10)
    metrics.requestDuration.cell(shard: 1, labels: ["o", "x"]).record(nanoseconds: 12_345)
    metrics.attemptDuration.cell(shard: 1, labels: ["x"]).record(nanoseconds: .max)
    metrics.loopLag.cell(shard: 0, labels: ["0"]).set(123_456)
    metrics.connections.cell(shard: 0, labels: ["downstream"]).set(2)
    metrics.bytes.cell(shard: 0, labels: ["in"]).add(1 << 60)
    let (status, complaint) = try runPromtool(registry.render(.prometheus))
    #expect(status == 0, "\(complaint)")
    // And it does complain when there is something to complain about.
    #expect(try runPromtool(Array("x{y=\"a\nb\"} 1\n".utf8)).status != 0)
  }
}

private let promtool: String? = ["/usr/bin/promtool", "/usr/local/bin/promtool"].first { access($0, X_OK) == 0 }

/// Feeds `promtool check metrics` through files, since a pipe could block both sides.
private func runPromtool(_ text: [UInt8]) throws -> (status: Int32, complaint: String) {
  var template = Array("/tmp/fairlead-metrics-XXXXXX".utf8CString)
  let descriptor = mkstemp(&template)
  try #require(descriptor >= 0)
  let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer {
    close(descriptor)
    unlink(path)
    unlink(path + ".out")
  }
  try #require(text.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) } == text.count)
  let command = "\(promtool ?? "promtool") check metrics < \(path) > \(path).out 2>&1"
  guard let pipe = popen(command, "r") else { return (-1, "popen failed") }
  let status = pclose(pipe)
  var complaint = ""
  if let file = fopen(path + ".out", "r") {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = fread(&buffer, 1, buffer.count, file)
    complaint = String(decoding: buffer[..<count], as: UTF8.self)
    fclose(file)
  }
  return (status, complaint)
}
