// The registry as text that monitoring systems read: Prometheus text 0.0.4 and OpenMetrics 1.0.
// Both from the same walk; they differ in the names of counters, in units, in the escaping of help and in the last line.
// https://prometheus.io/docs/instrumenting/exposition_formats/ and https://github.com/prometheus/OpenMetrics (1.0.0)

/// A text exposition format.
public enum ExpositionFormat: Sendable {
  case prometheus
  case openMetrics

  /// The value of Content-Type.
  public var contentType: String {
    switch self {
    case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
    case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
    }
  }

  /// What an Accept field asks for: OpenMetrics where it is named with a weight no lower than plain text's, else Prometheus's
  /// own text, whatever else is asked for (no client is helped by a 406).
  public static func negotiated(accept: String?) -> ExpositionFormat {
    guard let accept else { return .prometheus }
    var openMetrics = 0.0
    var plain = 0.0
    for range in accept.lowercased().split(separator: ",") {
      var parts = range.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" } }
      guard let type = parts.first else { continue }
      parts.removeFirst()
      let weight = parts.first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
      let version = parts.first { $0.hasPrefix("version=") }.map { $0.dropFirst("version=".count) }
      switch type {
      case "application/openmetrics-text":
        if version == nil || version == "1.0.0" { openMetrics = max(openMetrics, weight) }
      case "text/plain": plain = max(plain, weight)
      default: continue
      }
    }
    return openMetrics > 0 && openMetrics >= plain ? .openMetrics : .prometheus
  }
}

extension Registry {
  /// Everything, as text. Reads every cell; for the control thread.
  public func render(_ format: ExpositionFormat) -> [UInt8] {
    var output = TextOutput(reserving: 16 * 1024)
    for family in allFamilies where family.seriesCount > 0 {
      render(family, format, &output)
    }
    if format == .openMetrics { output.append("# EOF\n") }
    return output.bytes
  }

  private func render(_ family: MetricFamily, _ format: ExpositionFormat, _ output: inout TextOutput) {
    let descriptor = family.descriptor
    let sample = descriptor.kind == .counter ? descriptor.name + "_total" : descriptor.name
    // Prometheus's text names a counter's family as its samples; OpenMetrics leaves `_total` to the sample.
    let heading = format == .prometheus ? sample : descriptor.name
    output.append("# HELP \(heading) ")
    output.append(escapeHelp(descriptor.help, quotes: format == .openMetrics))
    output.append("\n# TYPE \(heading) \(descriptor.kind.name)\n")
    if format == .openMetrics, let unit = descriptor.unit.name { output.append("# UNIT \(heading) \(unit)\n") }

    family.forEachSeries { labels, value in
      let pairs = renderLabels(descriptor.labelNames, labels)
      switch value {
      case .counter(let count):
        output.append(sample)
        output.append(pairs.isEmpty ? "" : "{\(pairs)}")
        output.append(" ")
        append(count, descriptor.unit, &output)
      case .gauge(let level):
        output.append(sample)
        output.append(pairs.isEmpty ? "" : "{\(pairs)}")
        output.append(level < 0 ? " -" : " ")
        append(level.magnitude, descriptor.unit, &output)
      case .histogram(let snapshot):
        render(snapshot, descriptor.name, pairs, &output)
      }
    }
  }

  /// Cumulative counts at the exported bounds. `_count` is the sum of the buckets read, so the lines always agree.
  private func render(_ snapshot: HistogramSnapshot, _ name: String, _ pairs: String, _ output: inout TextOutput) {
    let prefix = pairs.isEmpty ? "" : pairs + ","
    var cumulative: UInt64 = 0
    var bucket = 0
    for exported in HistogramLayout.exportedBuckets {
      while bucket <= exported {
        cumulative &+= snapshot.counts[bucket]
        bucket += 1
      }
      output.append("\(name)_bucket{\(prefix)le=\"")
      output.append(HistogramLayout.upperBound(of: exported), digits: 9, keepsPoint: true)
      output.append("\"} ")
      output.append(cumulative)
      output.append("\n")
    }
    let total = snapshot.count
    output.append("\(name)_bucket{\(prefix)le=\"+Inf\"} ")
    output.append(total)
    let labels = pairs.isEmpty ? "" : "{\(pairs)}"
    output.append("\n\(name)_sum\(labels) ")
    output.append(snapshot.sumNanoseconds, digits: 9)
    output.append("\n\(name)_count\(labels) ")
    output.append(total)
    output.append("\n")
  }

  private func append(_ value: UInt64, _ unit: MetricUnit, _ output: inout TextOutput) {
    switch unit {
    case .none, .bytes: output.append(value)
    case .seconds: output.append(value, digits: 9)
    }
    output.append("\n")
  }

  private func renderLabels(_ names: [String], _ values: [String]) -> String {
    zip(names, values).map { "\($0)=\"\(escapeLabel($1))\"" }.joined(separator: ",")
  }
}

extension MetricKind {
  fileprivate var name: String {
    switch self {
    case .counter: "counter"
    case .gauge: "gauge"
    case .histogram: "histogram"
    }
  }
}

/// Backslash, quote and line feed, both formats.
func escapeLabel(_ value: String) -> String { escape(value, quotes: true) }

/// OpenMetrics escapes quotes in help too; Prometheus's text does not.
func escapeHelp(_ help: String, quotes: Bool) -> String { escape(help, quotes: quotes) }

private func escape(_ text: String, quotes: Bool) -> String {
  guard text.utf8.contains(where: { $0 == 0x5C || $0 == 0x0A || $0 == 0x22 }) else { return text }
  var escaped = ""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\\": escaped += "\\\\"
    case "\n": escaped += "\\n"
    case "\"" where quotes: escaped += "\\\""
    default: escaped.unicodeScalars.append(scalar)
    }
  }
  return escaped
}
