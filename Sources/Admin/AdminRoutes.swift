// Which path answers what. Requests in, answers out; sockets are the server's business.

import Base
import Policy
import Telemetry

/// An answer to one request.
struct AdminResponse: Sendable {
  var status: Int
  var contentType: String
  var body: [UInt8]
  /// Methods for `Allow`, with a 405.
  var allow: String?
  /// Done once the answer went out, or could not.
  var afterwards: (@Sendable () -> Void)?

  /// One line of text.
  static func text(_ status: Int, _ line: String, allow: String? = nil) -> AdminResponse {
    AdminResponse(status: status, contentType: plainText, body: Array((line + "\n").utf8), allow: allow)
  }

  /// An object, indented for people.
  static func json(_ report: some JSONReport) -> AdminResponse {
    json { json in json.object { report.writeMembers(to: &$0) } }
  }

  static func json(_ write: (inout JSONWriter) -> Void) -> AdminResponse {
    var json = JSONWriter(indented: true, reserving: 4096)
    write(&json)
    json.newline()
    return AdminResponse(status: 200, contentType: "application/json", body: json.bytes)
  }
}

/// The table of paths.
struct AdminRoutes: Sendable {
  let node: any NodeAdministration

  /// Answers a request, now or later, from any thread.
  ///
  /// - Parameter refusal: why this peer may not change anything; nil when it may. Asked only where it matters.
  func answer(
    _ request: AdminRequest, refusal: () -> String?, _ reply: @escaping @Sendable (AdminResponse) -> Void
  ) {
    guard let route = Self.routes.first(where: { $0.path == request.path }) else {
      return reply(.text(404, notFound(request.path)))
    }
    switch request.method {
    case "GET", "HEAD":
      guard let read = route.read else {
        return reply(.text(405, "\(route.path) changes something: use POST", allow: route.allow))
      }
      read(node, request, reply)
    case "POST":
      guard let change = route.change else {
        return reply(.text(405, "\(route.path) is for reading: use GET", allow: route.allow))
      }
      if let refusal = refusal() { return reply(.text(403, refusal)) }
      change(node, request, reply)
    default:
      reply(.text(405, "\(route.path) knows \(route.allow)", allow: route.allow))
    }
  }

  // MARK: The table

  private typealias Read =
    @Sendable (any NodeAdministration, AdminRequest, @escaping @Sendable (AdminResponse) -> Void)
    -> Void
  private typealias Change = Read

  private struct Route: Sendable {
    let path: String
    let summary: String
    var read: Read?
    var change: Change?

    var allow: String {
      switch (read, change) {
      case (.some, .some): "GET, HEAD, POST"
      case (.some, nil): "GET, HEAD"
      case (nil, _): "POST"
      }
    }
  }

  private static let routes: [Route] = [
    Route(path: "/", summary: "this list", read: { _, _, reply in reply(index) }),
    Route(
      path: "/ready", summary: "200 while new traffic is welcome, else 503 with the reason",
      read: { node, _, reply in node.readiness { reply(health($0, "ready")) } }),
    Route(
      path: "/live", summary: "200 while every shard turns, else 503 with the reason",
      read: { node, _, reply in node.liveness { reply(health($0, "live")) } }),
    Route(
      path: "/status", summary: "version, uptime, shards, listeners, configuration, what does not work",
      read: { node, _, reply in node.status { reply(.json($0)) } }),
    Route(
      path: "/config", summary: "the running configuration",
      read: { node, _, reply in
        reply(
          AdminResponse(
            status: 200, contentType: "application/json", body: Array((node.configurationJSON() + "\n").utf8)))
      }),
    Route(
      path: "/config/diff", summary: "what a reload would change",
      read: { node, _, reply in
        node.configurationChanges { result in reply(answer(result)) }
      }),
    Route(
      path: "/reload", summary: "POST: read the configuration again; ?confirm=60s takes it back unless confirmed",
      change: reload),
    Route(
      path: "/reload/confirm", summary: "POST: keep what was reloaded with ?confirm",
      change: { node, _, reply in
        if let reason = node.confirmReload() { reply(.text(409, reason)) } else { reply(.text(200, "confirmed")) }
      }),
    Route(
      path: "/explain", summary: "what would happen to a request; ?url=&method=&headers=&workload=&listener=",
      read: explain),
    Route(path: "/endpoints", summary: "endpoints with state, weight, load, latency; ?service=NAME", read: endpoints),
    Route(
      path: "/services", summary: "services with cumulative counts and latency histograms",
      read: { node, _, reply in node.services { reply(.json($0)) } }),
    Route(
      path: "/workloads", summary: "who is calling: connections, requests, bytes, and what is matched",
      read: { node, _, reply in
        node.workloads { all in reply(.json { json in json.object { $0.reports("workloads", all) } }) }
      }),
    Route(
      path: "/names",
      summary: "how a name is delegated, step by step: ?path=/svc/web, with &dtab=… as a request brings it",
      read: names),
    Route(
      path: "/routes", summary: "rules in their order: what each matches, what it does, its requests",
      read: { node, _, reply in
        node.routes { all in reply(.json { json in json.object { $0.reports("routes", all) } }) }
      }),
    Route(path: "/connections", summary: "open connections; ?limit=N (1000)", read: connections),
    Route(path: "/metrics", summary: "Prometheus text, or OpenMetrics by Accept", read: metrics),
    Route(
      path: "/metrics.json", summary: "the same as one flat JSON object",
      read: { node, _, reply in
        reply(AdminResponse(status: 200, contentType: "application/json", body: node.flatMetrics()))
      }),
    Route(
      path: "/drain", summary: "POST: finish what is in flight, then end",
      change: { node, _, reply in
        node.drain()
        reply(.text(202, "draining"))
      }),
    Route(
      path: "/shutdown", summary: "POST: end at once",
      change: { node, _, reply in
        var response = AdminResponse.text(202, "shutting down")
        response.afterwards = { node.shutdown() }
        reply(response)
      }),
    Route(
      path: "/logging", summary: "the log level; POST ?level=error|warning|info|debug|trace changes it",
      read: { node, request, reply in
        // Whoever asks for a level must not take the answer for a success.
        if request.query["level"] != nil {
          return reply(.text(405, "/logging?level= changes something: use POST", allow: "POST"))
        }
        reply(.text(200, node.logLevel.rawValue))
      }, change: logging),
  ]

  private static var index: AdminResponse {
    let width = routes.map(\.path.count).max() ?? 0
    let lines = routes.map { route in
      route.path + String(repeating: " ", count: width - route.path.count + 2) + route.summary
    }
    return .text(200, lines.joined(separator: "\n"))
  }

  // MARK: The longer answers

  private static func health(_ health: Health, _ word: String) -> AdminResponse {
    switch health {
    case .ok: .text(200, word)
    case .failing(let reason): .text(503, "not \(word): \(reason)")
    }
  }

  private static let endpoints: Read = { node, request, reply in
    let service = request.query["service"]
    node.endpoints { all in
      let shown = all.filter { service == nil || $0.service == service }
      reply(.json { json in json.object { $0.reports("endpoints", shown) } })
    }
  }

  private static let connections: Read = { node, request, reply in
    var limit = 1000
    if let text = request.query["limit"] {
      guard let number = Int(text), (0...maximumConnectionsShown).contains(number) else {
        return reply(.text(400, "limit is a number from 0 to \(maximumConnectionsShown), not '\(text.prefix(40))'"))
      }
      limit = number
    }
    node.connections(limit: limit) { reply(.json($0)) }
  }

  private static let names: Read = { node, request, reply in
    guard let text = request.query["path"], !text.isEmpty else {
      return reply(.text(400, "which name? write /names?path=/svc/web"))
    }
    let path: Path
    do throws(NameProblem) {
      path = try named(text)
    } catch {
      return reply(.text(400, error.message))
    }
    var override: [DelegationEntry] = []
    if let dtab = request.query["dtab"] {
      do throws(NameProblem) {
        override = try delegation(dtab)
      } catch {
        return reply(.text(400, error.message))
      }
    }
    node.names(path, override: override) { reply(.json($0)) }
  }

  private struct NameProblem: Error {
    let message: String
  }

  /// A name as requests have it: `/svc/web`, or a host, which is short for it.
  private static func named(_ text: String) throws(NameProblem) -> Path {
    var text = text
    if text.utf8.first != UInt8(ascii: "/") {
      let result = text.withUTF8 { bytes in
        Result { () throws(HostRefusal) in try HostIdentifier().identify(UnsafeRawBufferPointer(bytes)) }
      }
      do throws(HostRefusal) { return try result.get() } catch {
        throw NameProblem(message: "'\(shown(text))' is neither a name such as /svc/web nor a host: \(error)")
      }
    }
    do throws(PathError) {
      return HostIdentifier().normalized(try Path(parsing: text))
    } catch {
      throw NameProblem(message: "'\(shown(text))' is not a name: \(error)")
    }
  }

  private static func delegation(_ text: String) throws(NameProblem) -> [DelegationEntry] {
    var text = text
    let result = text.withUTF8 { bytes in
      Result { () throws(DelegationParser.Flaw) in
        try Delegation.entries(ofHeader: UnsafeRawBufferPointer(bytes))
      }
    }
    do throws(DelegationParser.Flaw) { return try result.get() } catch {
      throw NameProblem(message: "dtab, column \(error.range.lowerBound + 1): \(error.message)")
    }
  }

  private static let metrics: Read = { node, request, reply in
    let format = ExpositionFormat.negotiated(accept: request.accept)
    reply(AdminResponse(status: 200, contentType: format.contentType, body: node.metrics(format)))
  }

  private static let logging: Change = { node, request, reply in
    guard let level = request.query["level"].flatMap(LogLevel.init(rawValue:)) else {
      return reply(.text(400, "level is one of \(LogLevel.allCases.map(\.rawValue).joined(separator: ", "))"))
    }
    node.setLogLevel(level)
    reply(.text(200, level.rawValue))
  }

  /// `?confirm` is a duration, or a number of seconds.
  private static let reload: Change = { node, request, reply in
    var limit: Duration?
    if let text = request.query["confirm"] {
      let isNumber = !text.isEmpty && text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
      guard let duration = try? Duration(parsing: isNumber ? text + "s" : text), confirmTimes.contains(duration) else {
        return reply(.text(400, "confirm is a time from 1s to 1h, not '\(text.prefix(40))'"))
      }
      limit = duration
    }
    node.reload(confirmWithin: limit) { result in reply(answer(result)) }
  }

  private static let explain: Read = { node, request, reply in
    do throws(ExplainError) {
      node.explain(try ExplainQuery(request.query)) { reply(.json($0)) }
    } catch {
      reply(.text(400, error.description))
    }
  }

  private static func answer(_ result: Result<some JSONReport, ConfigurationRefusal>) -> AdminResponse {
    switch result {
    case .success(let report): .json(report)
    case .failure(.findings(let text)):
      AdminResponse(status: 422, contentType: plainText, body: Array(text.utf8))
    case .failure(.notNow(let line)): .text(409, line)
    }
  }

  /// Says so, and which paths look alike: those that begin alike or contain what was asked for.
  private func notFound(_ path: String) -> String {
    let word = path.drop { $0 == "/" }.prefix(40).lowercased()
    let near = Self.routes.map(\.path).filter { candidate in
      let name = candidate.dropFirst()
      guard !name.isEmpty, !word.isEmpty else { return false }
      return zip(name, word).prefix { $0 == $1 }.count >= min(3, word.count) || name.contains(word)
        || word.contains(name)
    }
    let hint = near.isEmpty ? "/ lists what there is" : "did you mean \(near.joined(separator: " or "))?"
    return "no such path: \(shown(path)); \(hint)"
  }
}

/// The beginning of a text, without what a terminal would obey.
private func shown(_ text: String) -> String {
  text.unicodeScalars.prefix(60).map { $0.value < 0x20 || $0.value == 0x7F ? "?" : String($0) }.joined()
}

private let plainText = "text/plain; charset=utf-8"
private let confirmTimes: ClosedRange<Duration> = .seconds(1) ... .seconds(3600)
private let maximumConnectionsShown = 100_000
