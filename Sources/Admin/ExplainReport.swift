// What would happen to a request, and which line of the configuration decides each part of it. Nothing is sent.

public import Base

/// `/explain`.
public struct ExplainReport: JSONReport, Equatable {
  /// One decision on the way.
  public struct Step: JSONReport, Equatable {
    /// What kind of decision: `listener`, `rule`, `name`, `delegation`, `service`, ...
    public var kind: String
    /// What it was about, such as `/svc/cart`.
    public var subject: String
    /// What came of it, such as `/#/file/cart`.
    public var result: String
    /// Where that is written, as file:line; nil where nothing is.
    public var place: String?

    public init(kind: String, subject: String, result: String, place: String? = nil) {
      self.kind = kind
      self.subject = subject
      self.result = result
      self.place = place
    }

    public func writeMembers(to json: inout JSONWriter) {
      json.member("kind", kind)
      json.member("subject", subject)
      json.member("result", result)
      json.member("place", place)
    }
  }

  public struct Endpoint: JSONReport, Equatable {
    public var service: String
    public var address: String
    public var state: String
    public var weight: Double

    public init(service: String, address: String, state: String, weight: Double) {
      self.service = service
      self.address = address
      self.state = state
      self.weight = weight
    }

    public func writeMembers(to json: inout JSONWriter) {
      json.member("service", service)
      json.member("address", address)
      json.member("state", state)
      json.member("weight", weight)
    }
  }

  /// One key of the policy in force for one service.
  public struct Setting: JSONReport, Equatable {
    /// Such as `/#/static/web`.
    public var service: String
    public var name: String
    public var value: String
    /// Where it is written; nil for a default.
    public var place: String?

    public init(service: String, name: String, value: String, place: String? = nil) {
      self.service = service
      self.name = name
      self.value = value
      self.place = place
    }

    public func writeMembers(to json: inout JSONWriter) {
      json.member("service", service)
      json.member("name", name)
      json.member("value", value)
      json.member("place", place)
    }
  }

  /// The request, on one line.
  public var request: String
  public var steps: [Step]
  public var endpoints: [Endpoint]
  /// Of every service that the request may go to, one after another.
  public var policy: [Setting]
  /// What becomes of the request, in one sentence.
  public var verdict: String
  /// The status of the proxy's own answer; nil when the request would be sent on.
  public var status: Int?

  public init(
    request: String, steps: [Step] = [], endpoints: [Endpoint] = [], policy: [Setting] = [], verdict: String,
    status: Int? = nil
  ) {
    self.request = request
    self.steps = steps
    self.endpoints = endpoints
    self.policy = policy
    self.verdict = verdict
    self.status = status
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("request", request)
    json.reports("steps", steps)
    json.reports("endpoints", endpoints)
    json.reports("policy", policy)
    json.member("verdict", verdict)
    json.key("status")
    if let status { json.integer(status) } else { json.null() }
  }
}
