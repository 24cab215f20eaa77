// `retries`, `circuitBreaker` and `healthCheck` of services: values, defaults, merging, and what is wrong with them.

import Base
import Configuration
import Policy
import Testing

@Suite("What is done about failures")
struct ResilienceTests {
  @Test("what is not written has the documented default")
  func defaults() throws {
    let policy = try good().policy(forServiceName: "/svc/web")
    #expect(policy.retries.classifier == .read5xx && policy.retries.limit == 3)
    #expect(
      policy.retries.budgetTerms
        == RetryBudget.Terms(percent: 20, perSecond: 10, windowNanoseconds: 10_000_000_000))
    #expect(
      policy.retries.backoff.backoff
        == Backoff(minimumNanoseconds: 10_000_000, maximumNanoseconds: 1_000_000_000, isJittered: true))
    #expect(
      policy.circuitBreaker.accrual
        == AccrualPolicy(
          kind: .consecutiveFailures(5),
          backoff: Backoff(minimumNanoseconds: 5_000_000_000, maximumNanoseconds: 300_000_000_000)))
    #expect(policy.hedging == nil)
    #expect(
      try good("services: [{name: /svc, hedging: {}}]").policy(forServiceName: "/svc/web").hedging?.compiled
        == HedgingPolicy(percentile: 95, minimumNanoseconds: 1_000_000, minimumSamples: 100))
    #expect(policy.healthCheck.kind == .none)
    #expect(
      policy.healthCheck.terms
        == HealthCheckTerms(intervalNanoseconds: 5_000_000_000, unhealthyAfter: 3, healthyAfter: 2))
    #expect(policy.healthCheck.expect == 200...399 && policy.healthCheck.timeout == .seconds(1))
  }

  private static let full = """
    services:
      - name: /svc
        retries:
          classifier: all-5xx
          budget: {percent: 30, minPerSecond: 0, window: 5s}
          backoff: {kind: constant, min: 20ms}
          limit: 5
        hedging: {percentile: 90, samples: 50}
        circuitBreaker: {kind: success-rate, successRate: 90, window: 30s, minRequests: 50}
        healthCheck: {kind: http, path: "/up?deep=1", host: "web.local:80", interval: 2s, timeout: 500ms, expect: 204}
      - name: /svc/web
        retries: {classifier: never, backoff: {kind: jittered, max: 2s}}
        hedging: {percentile: 99, min: 20ms}
        circuitBreaker: {backoff: {min: 1s, max: 10s}}
        healthCheck: {healthy: 1, unhealthy: 5, expect: 200-299}
      - name: /svc/api
        circuitBreaker: {kind: none}
        hedging: none
        healthCheck: {kind: tcp}
      - name: /svc/api/cart
        healthCheck: {kind: grpc, service: shop.v1.Cart, host: cart}
    """

  @Test("entries are laid over each other key by key")
  func merging() throws {
    let configuration = try good(Self.full)
    let web = configuration.policy(forServiceName: "/svc/web")
    #expect(web.retries.classifier == .never && web.retries.limit == 5)
    #expect(
      web.retries.budgetTerms == RetryBudget.Terms(percent: 30, perSecond: 0, windowNanoseconds: 5_000_000_000))
    let wait = web.retries.backoff
    #expect(wait.kind == .jittered && wait.min == .milliseconds(20) && wait.max == .seconds(2))
    #expect(
      web.circuitBreaker.accrual
        == AccrualPolicy(
          kind: .successRate(0.9, minimumRequests: 50, windowNanoseconds: 30_000_000_000),
          backoff: Backoff(minimumNanoseconds: 1_000_000_000, maximumNanoseconds: 10_000_000_000)))
    #expect(web.healthCheck.kind == .http && web.healthCheck.path == "/up?deep=1")
    #expect(web.healthCheck.host == "web.local:80" && web.healthCheck.interval == .seconds(2))
    #expect(web.healthCheck.healthy == 1 && web.healthCheck.unhealthy == 5 && web.healthCheck.expect == 200...299)

    #expect(
      web.hedging?.compiled == HedgingPolicy(percentile: 99, minimumNanoseconds: 20_000_000, minimumSamples: 50))
    #expect(configuration.policy(forServiceName: "/svc/x").hedging?.percentile == 90)

    let api = configuration.policy(forServiceName: "/svc/api")
    #expect(api.retries.classifier == .all5xx && api.retries.backoff.backoff.isJittered == false)
    #expect(api.hedging == nil)
    #expect(api.circuitBreaker.accrual.kind == .none && api.healthCheck.kind == .tcp)
    #expect(api.healthCheck.expect == 204...204)
    let cart = configuration.policy(forServiceName: "/svc/api/cart").healthCheck
    #expect(cart.kind == .grpc && cart.service == "shop.v1.Cart" && cart.host == "cart")
  }

  @Test("what is shown of it can be read again and says the same")
  func roundTrip() throws {
    let configuration = try good(Self.full)
    let again = try Configuration.parse(configuration.render(), hostName: "other")
    #expect(again.services == configuration.services)
    #expect(configuration.services.count == 4)
  }

  @Test(
    "a value that cannot be is reported at its place",
    arguments: [
      (
        "retries: {classifier: 5xx}",
        "2:47: 'services[0].retries.classifier' must be 'never', 'read-5xx', 'idempotent-5xx', 'all-5xx', 'grpc-default' or 'grpc-always', not '5xx'"
      ),
      ("hedging: {percentile: 100}", "2:47: 'services[0].hedging.percentile' must be between 50 and 99, not 100"),
      ("hedging: {max: 1s}", "2:35: unknown key 'max' in services[0].hedging"),
      ("hedging: 95", "2:34: 'services[0].hedging' must be none or a mapping such as { percentile: 95 }"),
      (
        "retries: {classifier: grpc-compliant}",
        "2:47: 'grpc-compliant' is not available in this version of Fairlead; 'services[0].retries.classifier' can be "
          + "'never', 'read-5xx', 'idempotent-5xx', 'all-5xx', 'grpc-default' or 'grpc-always'"
      ),
      ("retries: {limit: 11}", "2:42: 'services[0].retries.limit' must be between 0 and 10, not 11"),
      (
        "retries: {budget: {percent: 1001}}",
        "2:53: 'services[0].retries.budget.percent' must be between 0 and 1000, not 1001"
      ),
      (
        "retries: {budget: {window: 100ms}}",
        "2:52: 'services[0].retries.budget.window' must be between 1s and 10m, not 100ms"
      ),
      (
        "retries: {budget: {perSecond: 1}}",
        "2:44: unknown key 'perSecond' in services[0].retries.budget; did you mean 'minPerSecond'?"
      ),
      (
        "retries: {backoff: {min: 2s, max: 1s}}",
        "2:50: 'services[0].retries.backoff.min' must be at most its 'max', 1s"
      ),
      (
        "retries: {backoff: {kind: random}}",
        "2:51: 'services[0].retries.backoff.kind' must be 'jittered' or 'constant', not 'random'"
      ),
      (
        "circuitBreaker: {kind: consecutive}",
        "2:48: 'services[0].circuitBreaker.kind' must be 'consecutive-failures', 'success-rate' or 'none', "
          + "not 'consecutive'"
      ),
      (
        "circuitBreaker: {failures: 0}",
        "2:52: 'services[0].circuitBreaker.failures' must be between 1 and 1000000, not 0"
      ),
      (
        "circuitBreaker: {successRate: 0.9}",
        "2:55: 'services[0].circuitBreaker.successRate' must be a whole number between 1 and 100, not '0.9'"
      ),
      (
        "healthCheck: {kind: tcp, path: /up}",
        "2:56: 'services[0].healthCheck.path' is for kind: http; a tcp check only connects"
      ),
      (
        "healthCheck: {kind: tcp, service: a.B}",
        "2:59: 'services[0].healthCheck.service' is for kind: grpc; a tcp check only connects"
      ),
      (
        "healthCheck: {kind: http, service: a.B}",
        "2:60: 'services[0].healthCheck.service' is for kind: grpc; what a GET asks for is its 'path'"
      ),
      (
        "healthCheck: {kind: grpc, expect: 200}",
        "2:59: 'services[0].healthCheck.expect' is for kind: http; a gRPC server is asked for its health, "
          + "or that of 'service'"
      ),
      (
        "healthCheck: {kind: grpc, service: a b}",
        "2:60: 'a b' is no service of gRPC; write a name such as shop.v1.Cart, up to 255 characters"
      ),
      (
        "healthCheck: {kind: http, path: up}",
        "2:57: 'services[0].healthCheck.path' must be a path such as /health, without blanks, not 'up'"
      ),
      (
        "healthCheck: {kind: http, path: /a b}",
        "2:57: 'services[0].healthCheck.path' must be a path such as /health, without blanks, not '/a b'"
      ),
      (
        "healthCheck: {kind: http, host: a/b}",
        "2:57: 'a/b' is no host; write a name such as web.local, or a name with a port"
      ),
      (
        "healthCheck: {interval: 10ms}",
        "2:49: 'services[0].healthCheck.interval' must be between 100ms and 1h, not 10ms"
      ),
    ])
  func mistakes(section: String, expected: String) {
    #expect(findings(in: "services: [{name: /svc, \(section)}]") == [expected])
  }

  @Test(
    "what is no range of statuses is reported",
    arguments: ["2xx", "99-200", "200-600", "300-200", "200-", "-200", "200-300-400", "0200", "２００"])
  func statuses(text: String) {
    #expect(
      findings(in: "services: [{name: /svc, healthCheck: {expect: \(text)}}]") == [
        "2:47: 'services[0].healthCheck.expect' must be a status or a range such as 200-399, not '\(text)'"
      ])
  }
}
