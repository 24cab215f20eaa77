// What entries say of failures, as JSON in the words of the file.

import Base
import Policy

extension Configuration.Wait {
  fileprivate func write(to json: inout JSONWriter) {
    if let kind { json.member("kind", kind.rawValue) }
    if let min { json.member("min", min.shortText) }
    if let max { json.member("max", max.shortText) }
  }
}

extension Configuration.Retries {
  /// The members of `retries`.
  func write(to json: inout JSONWriter) {
    if let classifier { json.member("classifier", classifier.word) }
    if budgetPercent != nil || budgetPerSecond != nil || budgetWindow != nil {
      json.object("budget") { json in
        if let budgetPercent { json.member("percent", budgetPercent) }
        if let budgetPerSecond { json.member("minPerSecond", budgetPerSecond) }
        if let budgetWindow { json.member("window", budgetWindow.shortText) }
      }
    }
    json.object("backoff") { backoff.write(to: &$0) }
    if let limit { json.member("limit", limit) }
  }
}

extension Configuration.Hedging {
  /// The members of `hedging`.
  func write(to json: inout JSONWriter) {
    if let percentile { json.member("percentile", percentile) }
    if let min { json.member("min", min.shortText) }
    if let samples { json.member("samples", samples) }
  }
}

extension Configuration.CircuitBreaker {
  /// The members of `circuitBreaker`.
  func write(to json: inout JSONWriter) {
    if let kind { json.member("kind", kind.rawValue) }
    if let failures { json.member("failures", failures) }
    if let successRate { json.member("successRate", successRate) }
    if let window { json.member("window", window.shortText) }
    if let minRequests { json.member("minRequests", minRequests) }
    json.object("backoff") { backoff.write(to: &$0) }
  }
}

extension Configuration.HealthCheck {
  /// The members of `healthCheck`.
  func write(to json: inout JSONWriter) {
    if let kind { json.member("kind", kind.rawValue) }
    if let path { json.member("path", path) }
    if let host { json.member("host", host) }
    if let service { json.member("service", service) }
    if let interval { json.member("interval", interval.shortText) }
    if let timeout { json.member("timeout", timeout.shortText) }
    if let healthy { json.member("healthy", healthy) }
    if let unhealthy { json.member("unhealthy", unhealthy) }
    if let expect { json.member("expect", "\(expect.lowerBound)-\(expect.upperBound)") }
  }
}
