// What is done about failures: requests sent again, endpoints left out, endpoints checked. As in `ServicePolicy` there is a
// whole value with its defaults, and what one entry says of it.

import Base
public import Policy

extension ServicePolicy {
  /// A wait that grows.
  public struct Wait: Hashable, Sendable {
    public enum Kind: String, CaseIterable, Hashable, Sendable {
      /// Doubled each time from `min` to `max`, and drawn at random below that.
      case jittered
      /// Always `min`.
      case constant
    }

    public var kind: Kind = .jittered
    public var min: Duration
    public var max: Duration

    /// As `Policy` counts with it.
    public var backoff: Backoff {
      Backoff(
        minimumNanoseconds: min.wholeNanoseconds, maximumNanoseconds: max.wholeNanoseconds,
        isJittered: kind == .jittered)
    }
  }

  /// `retries`: which requests are sent again, how often, how many.
  public struct Retries: Hashable, Sendable {
    public var classifier = ResponseClassifier.read5xx
    /// Of a hundred requests, so many may be sent again,
    public var budgetPercent = 20
    /// and so many each second besides.
    public var budgetPerSecond = 10
    /// How long a request counts for that.
    public var budgetWindow: Duration = .seconds(10)
    public var backoff = Wait(min: .milliseconds(10), max: .seconds(1))
    /// Of one request, after its first attempt.
    public var limit = 3

    public var budgetTerms: RetryBudget.Terms {
      RetryBudget.Terms(
        percent: UInt32(clamping: budgetPercent), perSecond: UInt32(clamping: budgetPerSecond),
        windowNanoseconds: budgetWindow.wholeNanoseconds)
    }
  }

  /// `hedging`: which requests get a second attempt while the first is under way.
  public struct Hedging: Hashable, Sendable {
    /// Of a hundred answers, so many come before a second attempt is sent,
    public var percentile = 95
    /// and never sooner than this.
    public var min: Duration = .milliseconds(1)
    /// Answers that a shard must have seen lately.
    public var samples = 100

    public var compiled: HedgingPolicy {
      HedgingPolicy(
        percentile: UInt32(clamping: percentile), minimumNanoseconds: min.wholeNanoseconds,
        minimumSamples: UInt32(clamping: samples))
    }
  }

  /// `circuitBreaker`: when an endpoint that fails is left out.
  public struct CircuitBreaker: Hashable, Sendable {
    public enum Kind: String, CaseIterable, Hashable, Sendable {
      case consecutiveFailures = "consecutive-failures"
      case successRate = "success-rate"
      case none
    }

    public var kind: Kind = .consecutiveFailures
    /// In a row.
    public var failures = 5
    /// In percent.
    public var successRate = 80
    /// Over which the success rate is taken,
    public var window: Duration = .seconds(10)
    /// and how many requests it must have seen.
    public var minRequests = 20
    /// How long the endpoint is out.
    public var backoff = Wait(min: .seconds(5), max: .seconds(300))

    public var accrual: AccrualPolicy {
      let kind: AccrualPolicy.Kind
      switch self.kind {
      case .consecutiveFailures: kind = .consecutiveFailures(UInt32(clamping: failures))
      case .successRate:
        kind = .successRate(
          Double(successRate) / 100, minimumRequests: UInt32(clamping: minRequests),
          windowNanoseconds: window.wholeNanoseconds)
      case .none: kind = .none
      }
      return AccrualPolicy(kind: kind, backoff: backoff.backoff)
    }
  }

  /// `healthCheck`: how endpoints are asked whether they are well.
  public struct HealthCheck: Hashable, Sendable {
    public enum Kind: String, CaseIterable, Hashable, Sendable {
      /// They are not asked.
      case none
      /// Well is who accepts a connection.
      case tcp
      /// Well is who answers a GET as expected.
      case http
      /// Well is who answers SERVING to `grpc.health.v1.Health/Check`.
      case grpc
    }

    public var kind: Kind = .none
    public var path = "/"
    /// Nil for the service's name.
    public var host: String?
    /// The gRPC service whose health is asked for; empty for the server's as a whole.
    public var service = ""
    public var interval: Duration = .seconds(5)
    public var timeout: Duration = .seconds(1)
    /// Good answers in a row that make an endpoint healthy.
    public var healthy = 2
    /// Bad ones that make it unhealthy.
    public var unhealthy = 3
    /// The statuses of a good answer.
    public var expect: ClosedRange<UInt16> = 200...399

    public var terms: HealthCheckTerms {
      HealthCheckTerms(
        intervalNanoseconds: interval.wholeNanoseconds, unhealthyAfter: UInt32(clamping: unhealthy),
        healthyAfter: UInt32(clamping: healthy))
    }
  }
}

extension Configuration {
  /// What an entry says of a wait; nil says nothing.
  public struct Wait: Hashable, Sendable {
    public var kind: ServicePolicy.Wait.Kind?
    public var min: Duration?
    public var max: Duration?

    public init() {}

    func apply(to wait: inout ServicePolicy.Wait) {
      if let kind { wait.kind = kind }
      if let min { wait.min = min }
      if let max { wait.max = max }
    }
  }

  /// What an entry says of `retries`; nil says nothing.
  public struct Retries: Hashable, Sendable {
    public var classifier: ResponseClassifier?
    public var budgetPercent: Int?
    public var budgetPerSecond: Int?
    public var budgetWindow: Duration?
    public var backoff = Wait()
    public var limit: Int?

    public init() {}

    /// Lays what is said here over what was said before.
    public func apply(to retries: inout ServicePolicy.Retries) {
      if let classifier { retries.classifier = classifier }
      if let budgetPercent { retries.budgetPercent = budgetPercent }
      if let budgetPerSecond { retries.budgetPerSecond = budgetPerSecond }
      if let budgetWindow { retries.budgetWindow = budgetWindow }
      backoff.apply(to: &retries.backoff)
      if let limit { retries.limit = limit }
    }
  }

  /// What an entry says of `hedging`; nil says nothing.
  public struct Hedging: Hashable, Sendable {
    public var percentile: Int?
    public var min: Duration?
    public var samples: Int?

    public init() {}

    func apply(to hedging: inout ServicePolicy.Hedging?) {
      var changed = hedging ?? ServicePolicy.Hedging()
      if let percentile { changed.percentile = percentile }
      if let min { changed.min = min }
      if let samples { changed.samples = samples }
      hedging = changed
    }
  }

  /// What an entry says of `circuitBreaker`; nil says nothing.
  public struct CircuitBreaker: Hashable, Sendable {
    public var kind: ServicePolicy.CircuitBreaker.Kind?
    public var failures: Int?
    public var successRate: Int?
    public var window: Duration?
    public var minRequests: Int?
    public var backoff = Wait()

    public init() {}

    func apply(to breaker: inout ServicePolicy.CircuitBreaker) {
      if let kind { breaker.kind = kind }
      if let failures { breaker.failures = failures }
      if let successRate { breaker.successRate = successRate }
      if let window { breaker.window = window }
      if let minRequests { breaker.minRequests = minRequests }
      backoff.apply(to: &breaker.backoff)
    }
  }

  /// What an entry says of `healthCheck`; nil says nothing.
  public struct HealthCheck: Hashable, Sendable {
    public var kind: ServicePolicy.HealthCheck.Kind?
    public var path: String?
    public var host: String?
    public var service: String?
    public var interval: Duration?
    public var timeout: Duration?
    public var healthy: Int?
    public var unhealthy: Int?
    public var expect: ClosedRange<UInt16>?

    public init() {}

    func apply(to check: inout ServicePolicy.HealthCheck) {
      if let kind { check.kind = kind }
      if let path { check.path = path }
      if let host { check.host = host }
      if let service { check.service = service }
      if let interval { check.interval = interval }
      if let timeout { check.timeout = timeout }
      if let healthy { check.healthy = healthy }
      if let unhealthy { check.unhealthy = unhealthy }
      if let expect { check.expect = expect }
    }
  }
}

extension ResponseClassifier {
  /// As configurations write it.
  public var word: String {
    switch self {
    case .never: "never"
    case .read5xx: "read-5xx"
    case .idempotent5xx: "idempotent-5xx"
    case .all5xx: "all-5xx"
    case .grpcDefault: "grpc-default"
    case .grpcAlways: "grpc-always"
    }
  }
}
