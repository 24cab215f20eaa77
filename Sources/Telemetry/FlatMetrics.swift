// The registry as one flat JSON object, as Linkerd 1's /admin/metrics.json had it: dashboards and scripts written for that
// shape keep working.
//
//   {"rt/outbound/service/svc/web/requests": 12, "rt/outbound/service/svc/web/request_latency_ms.p99": 3.2}
//
// A family says where its values go with templates such as "rt/{listener}/service/{service}/requests"; series whose names
// come out equal are added up. A family without a template is named after itself and its labels:
// fairlead_errors_total{code="FL2103"} is "errors/code/FL2103". A leading slash of a label value is not doubled.

extension Registry {
  /// Everything, as one flat JSON object with sorted names. Reads every cell; for the control thread.
  public func renderFlatJSON() -> [UInt8] {
    var values: [String: FlatValue] = [:]
    for family in allFamilies {
      let templates =
        family.descriptor.flatNames.isEmpty ? [defaultTemplate(family.descriptor)] : family.descriptor.flatNames
      let scaled = family.descriptor.unit == .seconds
      family.forEachSeries { labels, value in
        for template in templates {
          let suffix = scaled && value.isScalar ? "_ms" : ""
          let name = fill(template, family.descriptor.labelNames, labels) + suffix
          let sum = values[name].map { $0.value.adding(value) } ?? value
          values[name] = FlatValue(value: sum, digits: scaled ? 6 : 0)
        }
      }
    }
    return renderFlat(values)
  }

  private func renderFlat(_ values: [String: FlatValue]) -> [UInt8] {
    var output = TextOutput(reserving: 16 * 1024)
    output.append("{")
    var first = true
    func name(_ name: String) {
      output.append(first ? "\n  " : ",\n  ")
      first = false
      output.append(jsonString: name)
      output.append(": ")
    }
    for (key, flat) in values.sorted(by: { $0.key < $1.key }) {
      let digits = flat.digits
      switch flat.value {
      case .counter(let count):
        name(key)
        output.append(count, digits: digits)
      case .gauge(let level):
        name(key)
        if level < 0 { output.append("-") }
        output.append(level.magnitude, digits: digits)
      case .histogram(let snapshot):
        name(key + ".count")
        output.append(snapshot.count)
        name(key + ".sum")
        output.append(snapshot.sumNanoseconds, digits: 6)
        guard let mean = snapshot.meanNanoseconds, let most = snapshot.maximumNanoseconds else { continue }
        name(key + ".avg")
        output.append(mean, digits: 6)
        name(key + ".max")
        output.append(most, digits: 6)
        for (suffix, fraction) in flatQuantiles {
          name(key + suffix)
          output.append(snapshot.quantileNanoseconds(fraction) ?? 0, digits: 6)
        }
      }
    }
    output.append(first ? "}\n" : "\n}\n")
    return output.bytes
  }
}

/// A value and where its decimal point goes: durations are held in nanoseconds and shown in milliseconds, as Linkerd did.
private struct FlatValue {
  let value: MetricValue
  let digits: Int
}

extension MetricValue {
  fileprivate var isScalar: Bool { if case .histogram = self { false } else { true } }

  fileprivate func adding(_ other: MetricValue) -> MetricValue {
    switch (self, other) {
    case (.counter(let a), .counter(let b)): return .counter(a &+ b)
    case (.gauge(let a), .gauge(let b)): return .gauge(a &+ b)
    case (.histogram(var a), .histogram(let b)):
      a.merge(b)
      return .histogram(a)
    // Two kinds under one name is a slip in the templates; the first one stands.
    case (.counter, .gauge), (.counter, .histogram), (.gauge, .counter), (.gauge, .histogram), (.histogram, .counter),
      (.histogram, .gauge):
      return self
    }
  }
}

private func defaultTemplate(_ descriptor: MetricDescriptor) -> String {
  var name = descriptor.name
  if name.hasPrefix(ownPrefix) { name.removeFirst(ownPrefix.count) }
  if descriptor.unit == .seconds, name.hasSuffix("_seconds") {
    name.removeLast("_seconds".count)
    if descriptor.kind == .histogram { name += "_ms" }
  }
  return name + descriptor.labelNames.map { "/\($0)/{\($0)}" }.joined()
}

/// Replaces `{label}` by its value. Unknown labels stay as they are written.
private func fill(_ template: String, _ names: [String], _ values: [String]) -> String {
  var filled = ""
  var rest = template[...]
  while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
    filled += rest[..<open]
    let label = rest[rest.index(after: open)..<close]
    if let index = names.firstIndex(where: { $0 == label }) {
      let value = values[index]
      filled += filled.hasSuffix("/") && value.hasPrefix("/") ? String(value.dropFirst()) : value
    } else {
      filled += rest[open...close]
    }
    rest = rest[rest.index(after: close)...]
  }
  return filled + rest
}

private let ownPrefix = "fairlead_"
private let flatQuantiles = [
  (".p50", 0.5), (".p90", 0.9), (".p95", 0.95), (".p99", 0.99), (".p9990", 0.999), (".p9999", 0.9999),
]
