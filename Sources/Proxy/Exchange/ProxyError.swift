// Every failure the proxy itself answers with, in one place: its stable code, its status, what it says, and what to run
// next. `LocalResponse` turns one into a response; counters and the access log go by the same code.

import HTTP
import Policy

/// Whose limit of requests in a time it is.
enum RateLimitHolder { case workload, route, service }

/// Why the proxy answered instead of an endpoint.
///
/// Codes: FL10xx refused bytes of a request, FL11xx the client otherwise, FL12xx what stands in front of a stream, FL20xx names, FL21xx endpoints,
/// FL22xx limits, FL23xx loops, FL24xx rules. They never change their meaning.
enum ProxyError: Equatable {
  case refused(Refusal)
  case headerTimeout
  case bodyTimeout
  case clientGone
  case methodNotSupported
  /// It has broken rules of HTTP/2.
  case http2Broken
  /// It has made work for nothing, again and again.
  case http2Flood
  /// Its CONNECT names a destination that is not on the listener's list.
  case connectRefused
  case connectBody
  case notTLS
  case badClientHello
  case clientHelloTooLong
  case clientHelloTruncated
  case noServerName
  case proxyHeaderMissing
  case proxyHeaderRefused
  case badProxyHeader
  case proxyHeaderTruncated
  case noHost
  case badName
  case unknownName
  case delegationFailed
  case nameTimeout
  case tooManyNames
  case nameRefused
  /// - column: of the mistake in `l5d-dtab`, from 1; 0 where it is not known.
  case badDelegation(column: UInt16)
  case discoveryFailed
  case endpointUnreachable
  case connectTimeout
  case endpointClosed
  /// - Parameter refusal: what is wrong with the answer's head; nil where nothing of it was looked at.
  case endpointGarbage(Refusal?)
  case responseTruncated
  case requestTimeout
  case attemptTimeout
  case deadlineExceeded
  case endpointsOut
  case noEndpoint
  case tooManyConnections
  case tooManyRequests
  case noDescriptor
  case nodeFull
  case tooManyDestinations
  /// - Parameter limit: whose it is; nil for any.
  case rateLimited(RateLimitHolder?)
  case connectionRateLimited
  case overloaded
  case loop
  case straightConnection
  case selfLoop
  /// A rule says so, with this status.
  case aborted(UInt16)
  /// Rules' patterns backtrack for too long over what it says.
  case patternsTooSlow

  /// The number behind `FL`.
  var code: UInt16 {
    switch self {
    case .refused(let refusal): 1001 + UInt16(refusal.rawValue)
    case .headerTimeout: 1101
    case .bodyTimeout: 1102
    case .clientGone: 1103
    case .methodNotSupported: 1104
    case .http2Broken: 1105
    case .http2Flood: 1106
    case .connectRefused: 1107
    case .connectBody: 1108
    case .notTLS: 1201
    case .badClientHello: 1202
    case .clientHelloTooLong: 1203
    case .clientHelloTruncated: 1204
    case .noServerName: 1205
    case .proxyHeaderMissing: 1211
    case .proxyHeaderRefused: 1212
    case .badProxyHeader: 1213
    case .proxyHeaderTruncated: 1214
    case .noHost: 2001
    case .badName: 2002
    case .unknownName: 2003
    case .delegationFailed: 2004
    case .nameTimeout: 2005
    case .tooManyNames: 2006
    case .nameRefused: 2007
    case .badDelegation: 2008
    case .discoveryFailed: 2009
    case .endpointUnreachable: 2101
    case .connectTimeout: 2102
    case .endpointClosed: 2103
    case .endpointGarbage: 2104
    case .responseTruncated: 2105
    case .requestTimeout: 2106
    case .attemptTimeout: 2107
    case .deadlineExceeded: 2108
    case .endpointsOut: 2109
    case .noEndpoint: 2201
    case .tooManyConnections: 2202
    case .tooManyRequests: 2203
    case .noDescriptor: 2204
    case .nodeFull: 2205
    case .tooManyDestinations: 2206
    case .rateLimited: 2207
    case .connectionRateLimited: 2208
    case .overloaded: 2209
    case .loop: 2301
    case .straightConnection: 2302
    case .selfLoop: 2303
    case .aborted: 2401
    case .patternsTooSlow: 2402
    }
  }

  /// The status of the answer. `clientGone` and `responseTruncated` have nobody or nothing left to answer with; their
  /// status appears in logs only.
  var status: UInt16 {
    switch self {
    case .refused(let refusal): refusal.status
    case .headerTimeout, .bodyTimeout: 408
    case .clientGone: 499
    case .http2Broken, .http2Flood, .connectBody, .patternsTooSlow: 400
    case .connectRefused: 403
    case .methodNotSupported: 405
    case .noHost, .badName, .badDelegation, .notTLS, .badClientHello, .clientHelloTooLong, .clientHelloTruncated,
      .noServerName, .proxyHeaderMissing, .proxyHeaderRefused, .badProxyHeader, .proxyHeaderTruncated:
      400
    case .unknownName: 404
    case .delegationFailed: 502
    case .endpointUnreachable, .endpointClosed, .endpointGarbage, .responseTruncated: 502
    case .connectTimeout, .requestTimeout, .attemptTimeout, .deadlineExceeded, .nameTimeout: 504
    case .endpointsOut, .noEndpoint, .tooManyConnections, .tooManyRequests, .noDescriptor, .nodeFull,
      .tooManyDestinations, .tooManyNames, .discoveryFailed, .nameRefused, .overloaded:
      503
    case .rateLimited, .connectionRateLimited: 429
    case .loop, .selfLoop: 508
    case .straightConnection: 421
    case .aborted(let status): status
    }
  }

  /// The status of the answer to a gRPC call.
  var grpcStatus: GRPCStatus {
    switch self {
    case .deadlineExceeded, .requestTimeout, .attemptTimeout: .deadlineExceeded
    case .rateLimited, .connectionRateLimited, .overloaded, .tooManyRequests: .resourceExhausted
    default: GRPCStatus(httpStatus: status)
    }
  }

  /// What happened, in one line.
  var message: StaticString {
    switch self {
    case .refused(let refusal): refusal.message
    case .headerTimeout: "the request head did not arrive in time (limits.headerTimeout)"
    case .bodyTimeout: "the request body stopped coming (timeouts.request)"
    case .clientGone: "the client went away"
    case .methodNotSupported: "CONNECT is not served on this listener"
    case .http2Broken: "the peer broke a rule of HTTP/2 (RFC 9113)"
    case .http2Flood: "the peer sent too many frames that nobody needs"
    case .connectRefused: "CONNECT may not lead there on this listener (listeners.connect)"
    case .connectBody: "a CONNECT request has a body, and what follows its head is the tunnel's"
    case .notTLS: "something else than TLS came on a listener for TLS"
    case .badClientHello: "the ClientHello is malformed"
    case .clientHelloTooLong: "the ClientHello is too long"
    case .clientHelloTruncated: "the ClientHello did not arrive in time (capture.detectTimeout)"
    case .noServerName: "the ClientHello names no server, so no service can be found for it"
    case .proxyHeaderMissing: "a connection of a listed source begins without a PROXY header (listeners.proxyProtocol)"
    case .proxyHeaderRefused: "a PROXY header came from a source that is not listed (listeners.proxyProtocol)"
    case .badProxyHeader: "the PROXY header is malformed"
    case .proxyHeaderTruncated: "the PROXY header did not arrive in time (capture.detectTimeout)"
    case .noHost: "the request names no host, so no service can be found for it"
    case .badName: "what the request calls its service cannot be a name"
    case .unknownName: "no service has this name"
    case .delegationFailed: "the delegation of this name does not end"
    case .nameTimeout: "discovery did not say in time what this name leads to"
    case .tooManyNames: "too many names are being looked up at once"
    case .nameRefused: "the delegation says that this name fails (!)"
    case .badDelegation: "l5d-dtab is no delegation"
    case .discoveryFailed: "discovery cannot say now what this name leads to"
    case .endpointUnreachable: "no endpoint of the service accepts connections"
    case .connectTimeout: "no endpoint of the service answered a connect in time (timeouts.connect)"
    case .endpointClosed: "the endpoint closed the connection before it answered"
    case .endpointGarbage(.some): "the endpoint's answer is refused"
    case .endpointGarbage: "the endpoint answered with something that is not HTTP/1"
    case .responseTruncated: "the endpoint's response broke off"
    case .requestTimeout: "the endpoint did not answer in time (timeouts.request)"
    case .attemptTimeout: "no attempt was answered in time (timeouts.attempt)"
    case .deadlineExceeded: "the caller's deadline was over before the answer came (l5d-ctx-deadline, grpc-timeout)"
    case .endpointsOut: "every endpoint of the service is out for failing (circuitBreaker, healthCheck)"
    case .noEndpoint: "the service has no endpoint"
    case .tooManyConnections: "the service has too many connections and waiting requests (limits.connections, pending)"
    case .tooManyRequests: "the service has too many requests (limits.requests)"
    case .noDescriptor: "the proxy has run out of descriptors"
    case .nodeFull: "the proxy has too many connections (limits.connections)"
    case .tooManyDestinations: "too many original destinations are in use at once (limits.destinations)"
    case .rateLimited: "more requests have come than may (rateLimit)"
    case .connectionRateLimited: "more connections have come than may (connectionRate)"
    case .overloaded: "the proxy has more to do than it can (limits.overload)"
    case .loop: "the request has passed this node too often (limits.viaHops)"
    case .straightConnection: "this port takes captured connections only (listeners.capture)"
    case .selfLoop: "the connection was on its way to the proxy itself"
    case .aborted: "a rule aborts some requests on purpose (routes[].fault.abort)"
    case .patternsTooSlow: "the rules' patterns take too long with what the request says (routes[].match)"
    }
  }

  /// Where in what the client sent the mistake is, from 1; 0 where that is not told.
  var column: UInt16 {
    if case .badDelegation(let column) = self { column } else { 0 }
  }

  /// What is wrong with what was refused, or which of several limits it was, where `message` does not say it.
  var detail: StaticString? {
    switch self {
    case .endpointGarbage(let refusal?): refusal.message
    case .rateLimited(.workload): "from this workload"
    case .rateLimited(.route): "for this rule"
    case .rateLimited(.service): "for the service"
    default: nil
    }
  }

  /// What to run to find out more.
  var nextCommand: StaticString {
    switch self {
    case .refused, .headerTimeout, .bodyTimeout, .clientGone, .methodNotSupported, .http2Broken, .http2Flood,
      .connectBody,
      .notTLS, .badClientHello,
      .clientHelloTooLong, .clientHelloTruncated, .badProxyHeader, .proxyHeaderTruncated:
      "fairlead metrics"
    case .noHost, .badName, .loop, .connectRefused, .noServerName, .proxyHeaderMissing, .proxyHeaderRefused:
      "fairlead config"
    case .unknownName, .delegationFailed, .nameRefused, .badDelegation: "fairlead names NAME"
    case .discoveryFailed: "fairlead status"
    case .endpointUnreachable, .connectTimeout, .endpointClosed, .endpointGarbage, .responseTruncated, .requestTimeout,
      .attemptTimeout, .deadlineExceeded, .endpointsOut, .noEndpoint:
      "fairlead endpoints"
    case .tooManyConnections, .tooManyRequests, .noDescriptor, .nodeFull, .tooManyDestinations, .nameTimeout,
      .tooManyNames, .overloaded:
      "fairlead status"
    case .rateLimited: "fairlead metrics"
    case .connectionRateLimited: "fairlead workloads"
    case .straightConnection, .selfLoop: "fairlead capture status"
    case .aborted, .patternsTooSlow: "fairlead routes"
    }
  }

  /// Whether the client's connection cannot go on after this answer.
  var endsConnection: Bool {
    switch self {
    case .refused, .headerTimeout, .bodyTimeout, .clientGone, .responseTruncated, .nodeFull, .straightConnection,
      .selfLoop, .connectionRateLimited, .notTLS, .badClientHello, .clientHelloTooLong, .clientHelloTruncated,
      .noServerName, .proxyHeaderMissing, .proxyHeaderRefused, .badProxyHeader, .proxyHeaderTruncated:
      true
    default: false
    }
  }

  /// A dense number for tables of counters.
  var position: Int {
    switch self {
    case .refused(let refusal): Int(refusal.rawValue)
    case .badDelegation(let column) where column > 0: ProxyError.badDelegation(column: 0).position
    case .endpointGarbage(.some): ProxyError.endpointGarbage(nil).position
    case .rateLimited(.some): ProxyError.rateLimited(nil).position
    case .aborted: Refusal.allCases.count + ProxyError.others.count
    default: Refusal.allCases.count + (ProxyError.others.firstIndex(of: self) ?? 0)
    }
  }

  /// All errors, by `position`.
  static var all: [ProxyError] { Refusal.allCases.map { .refused($0) } + others + [.aborted(503)] }

  private static let others: [ProxyError] = [
    .headerTimeout, .bodyTimeout, .clientGone, .methodNotSupported, .http2Broken, .http2Flood, .connectRefused,
    .connectBody, .notTLS, .badClientHello, .clientHelloTooLong,
    .clientHelloTruncated, .noServerName, .proxyHeaderMissing, .proxyHeaderRefused, .badProxyHeader,
    .proxyHeaderTruncated, .noHost, .badName, .unknownName,
    .delegationFailed, .nameTimeout, .tooManyNames, .nameRefused, .badDelegation(column: 0), .discoveryFailed,
    .endpointUnreachable, .connectTimeout,
    .endpointClosed,
    .endpointGarbage(nil), .responseTruncated,
    .requestTimeout, .attemptTimeout, .deadlineExceeded, .endpointsOut, .noEndpoint, .tooManyConnections,
    .tooManyRequests, .noDescriptor, .nodeFull, .tooManyDestinations,
    .rateLimited(nil), .connectionRateLimited, .overloaded,
    .loop,
    .straightConnection, .selfLoop, .patternsTooSlow,
  ]
}
