// Decodes what entries of `services`, and of `routes`, say of failures.

import Base
import Policy

extension Draft {
  /// `retries` of a mapping.
  /// - Parameter hasBudget: whether it may say `budget`: that is a service's, however many routes lead to it.
  static func retries(_ fields: Fields, hasBudget: Bool) -> Configuration.Retries {
    var retries = Configuration.Retries()
    let known = ["classifier", "backoff", "limit"] + (hasBudget ? ["budget"] : [])
    guard let section = fields.fields("retries", known: known) else { return retries }
    let classifiers = ResponseClassifier.allCases.map(\.word)
    if let word = section.choice("classifier", classifiers, later: grpcClassifiers) {
      retries.classifier = ResponseClassifier.allCases.first { $0.word == word }
    }
    retries.limit = section.integer("limit", in: 0...10)
    retries.backoff = wait(section, upTo: .seconds(60))
    if hasBudget, let budget = section.fields("budget", known: ["percent", "minPerSecond", "window"]) {
      retries.budgetPercent = budget.integer("percent", in: 0...1_000)
      retries.budgetPerSecond = budget.integer("minPerSecond", in: 0...1_000_000)
      retries.budgetWindow = budget.duration("window", in: .seconds(1) ... .seconds(600))
    }
    return retries
  }

  /// `hedging` of a mapping: nil when absent or wrong, `.some(nil)` for `none`.
  static func hedging(_ fields: Fields) -> Configuration.Hedging?? {
    guard let value = fields["hedging"] else { return nil }
    if case .scalar(let scalar) = value.node.content {
      if scalar.text == "none" { return .some(nil) }
      fields.reportValue("hedging", "'\(value.path)' must be none or a mapping such as { percentile: 95 }")
      return nil
    }
    guard let section = fields.fields("hedging", known: ["percentile", "min", "samples"]) else { return nil }
    var hedging = Configuration.Hedging()
    hedging.percentile = section.integer("percentile", in: 50...99)
    hedging.min = section.duration("min", in: .milliseconds(1) ... .seconds(3600))
    hedging.samples = section.integer("samples", in: 10...2_000)
    return .some(hedging)
  }

  /// `circuitBreaker` of a mapping.
  static func circuitBreaker(_ fields: Fields) -> Configuration.CircuitBreaker {
    var breaker = Configuration.CircuitBreaker()
    let known = ["kind", "failures", "successRate", "window", "minRequests", "backoff"]
    guard let section = fields.fields("circuitBreaker", known: known) else { return breaker }
    breaker.kind = section.choice("kind")
    breaker.failures = section.integer("failures", in: 1...1_000_000)
    breaker.successRate = section.integer("successRate", in: 1...100)
    breaker.window = section.duration("window", in: .seconds(1) ... .seconds(600))
    breaker.minRequests = section.integer("minRequests", in: 1...1_000_000)
    breaker.backoff = wait(section, upTo: .seconds(86400))
    return breaker
  }

  /// `healthCheck` of a mapping.
  static func healthCheck(_ fields: Fields) -> Configuration.HealthCheck {
    var check = Configuration.HealthCheck()
    let known = ["kind", "path", "host", "service", "interval", "timeout", "healthy", "unhealthy", "expect"]
    guard let section = fields.fields("healthCheck", known: known) else { return check }
    check.kind = section.choice("kind")
    check.path = requestPath(section)
    check.host = hostField(section)
    check.interval = section.duration("interval", in: .milliseconds(100) ... .seconds(3600))
    check.timeout = section.duration("timeout", in: .milliseconds(10) ... .seconds(60))
    check.healthy = section.integer("healthy", in: 1...100)
    check.unhealthy = section.integer("unhealthy", in: 1...100)
    check.expect = statuses(section)
    check.service = grpcService(section)
    if check.kind == .tcp {
      for key in ["path", "host", "expect", "service"] where section.has(key) {
        let kind = key == "service" ? "grpc" : "http"
        section.reportValue(key, "'\(section.path).\(key)' is for kind: \(kind); a tcp check only connects")
      }
    } else if check.kind == .grpc {
      for key in ["path", "expect"] where section.has(key) {
        section.reportValue(
          key, "'\(section.path).\(key)' is for kind: http; a gRPC server is asked for its health, or that of 'service'"
        )
      }
    } else if check.kind == .http, section.has("service") {
      section.reportValue("service", "'\(section.path).service' is for kind: grpc; what a GET asks for is its 'path'")
    }
    return check
  }

  private static func wait(_ fields: Fields, upTo most: Duration) -> Configuration.Wait {
    var wait = Configuration.Wait()
    guard let section = fields.fields("backoff", known: ["kind", "min", "max"]) else { return wait }
    wait.kind = section.choice("kind")
    wait.min = section.duration("min", in: .milliseconds(1)...most)
    wait.max = section.duration("max", in: .milliseconds(1)...most)
    if let min = wait.min, let max = wait.max, min > max {
      section.reportValue("min", "'\(section.path).min' must be at most its 'max', \(max.shortText)")
    }
    return wait
  }

  private static func requestPath(_ section: Fields) -> String? {
    guard let path = section.text("path") else { return nil }
    if path.utf8.first != 0x2F || path.utf8.count > 1_024 || !isVisible(path) {
      section.reportValue(
        "path", "'\(section.path).path' must be a path such as /health, without blanks, not \(quoted(path))")
    }
    return path
  }

  private static func grpcService(_ section: Fields) -> String? {
    guard let service = section.text("service") else { return nil }
    if service.utf8.count > 255 || !isVisible(service) {
      section.reportValue(
        "service", "\(quoted(service)) is no service of gRPC; write a name such as shop.v1.Cart, up to 255 characters")
    }
    return service
  }

  private static func hostField(_ section: Fields) -> String? {
    guard let host = section.text("host") else { return nil }
    if host.utf8.count > 255 || !isVisible(host) || host.utf8.contains(where: { $0 == 0x2F || $0 == 0x40 }) {
      section.reportValue("host", "\(quoted(host)) is no host; write a name such as web.local, or a name with a port")
    }
    return host
  }

  private static func isVisible(_ text: String) -> Bool { text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } }

  /// `200-399`, or one status.
  private static func statuses(_ section: Fields) -> ClosedRange<UInt16>? {
    guard let text = section.text("expect") else { return nil }
    let bounds = text.split(separator: "-", omittingEmptySubsequences: false).map { bound -> UInt16? in
      guard bound.utf8.count == 3, bound.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
      return UInt16(bound).flatMap { (100...599).contains($0) ? $0 : nil }
    }
    if bounds.count <= 2, let first = bounds.first ?? nil, let last = bounds.last ?? nil, first <= last {
      return first...last
    }
    section.reportValue(
      "expect", "'\(section.path).expect' must be a status or a range such as 200-399, not \(quoted(text))")
    return nil
  }

  /// Names that Linkerd has for what `grpc-default` and `never` do here.
  private static let grpcClassifiers = ["grpc-compliant", "grpc-never"]
}
