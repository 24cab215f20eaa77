// TLS that is carried as it is: the ClientHello is gathered and read, says where the connection goes, and is then its first
// bytes like any others. The proxy takes no part in the handshake, so the two ends still know that they speak to each other.
//
//   the first rule for its name and protocols  →  where that says
//   else, captured                             →  its original destination
//   else                                       →  the service of its server's name, /svc/<name>
//   none of these                              →  closed, with a code
//
// What is no ClientHello is refused on a listener that is for TLS. On a captured connection it goes on as anything else would
// that nobody here knows: to its original destination.

import Base
import Configuration
import EventLoop
import HTTP
import Policy
import TLS
import Telemetry

extension Shard {
  /// Bytes of a connection whose ClientHello has not come to its end. Returns how many were taken.
  func takeClientHello(_ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    if connection.pointee.codec.assembly == 0 {
      switch ClientHello.parse(received, joined: helloScratch) {
      case .complete(let hello):
        beginStream(connection, hello)
        return 0
      case .refused(let error):
        clientHelloRefused(connection, error)
        return 0
      case .incomplete(let least): connection.pointee.codec.remaining = UInt64(least)
      }
    }
    // As long as it is incomplete there is room for more of it.
    let room = max(ClientHello.maximumByteCount - Int(connection.pointee.codec.assembledCount), 0)
    let taken = UnsafeRawBufferPointer(rebasing: received.prefix(room))
    _ = appendToAssembly(connection, taken, limit: ClientHello.maximumByteCount)
    if UInt64(connection.pointee.codec.assembledCount) >= connection.pointee.codec.remaining {
      lookAtClientHello(connection)
    }
    return taken.count
  }

  /// Reads what has been gathered of a ClientHello.
  func lookAtClientHello(_ connection: ConnectionPointer) {
    switch ClientHello.parse(assembled(connection), joined: helloScratch) {
    case .incomplete(let least):
      connection.pointee.codec.remaining = UInt64(least)
      return
    case .complete(let hello): beginStream(connection, hello)
    case .refused(let error): clientHelloRefused(connection, error)
    }
    // What was gathered is taken up when these bytes have been: it comes in front of all that follows.
    connection.pointee.flags.insert(.detected)
  }

  private func clientHelloRefused(_ connection: ConnectionPointer, _ error: ClientHelloError) {
    let listener = Int(connection.pointee.origin)
    statistics.countClientHello(
      listener: listener, error.isForeign ? .foreign : error.isTooLong ? .oversized : .malformed)
    if listenerPolicies[listener].kind == .tls {
      refuseStream(connection, error.isForeign ? .notTLS : error.isTooLong ? .clientHelloTooLong : .badClientHello)
    } else {
      beginStream(connection)
    }
  }

  /// The time for the ClientHello is over, or the client has ended before all of it had come.
  func clientHelloEnded(_ connection: ConnectionPointer) {
    let listener = Int(connection.pointee.origin)
    let isForTLS = listenerPolicies[listener].kind == .tls
    // Who only looks whether somebody listens has done nothing wrong.
    if isForTLS, connection.pointee.codec.assembly == 0, connection.pointee.flags.contains(.peerFinished) {
      close(connection)
      return
    }
    statistics.countClientHello(listener: listener, .truncated)
    if isForTLS { refuseStream(connection, .clientHelloTruncated) } else { detectionEnded(connection) }
  }

  /// Ends a connection before anything of it was passed on. There is no answer that its client would understand.
  func refuseStream(_ connection: ConnectionPointer, _ error: ProxyError) {
    statistics.countError(error)
    recordRefusal(connection, error)
    close(connection, abort: true)
  }

  // MARK: Where it goes

  /// Finds out where a TLS connection goes, and goes on with it.
  func routeTLS(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ hello: ClientHello) {
    let listener = Int(downstream.pointee.origin)
    if exchange.pointee.record != noSlot, let name = hello.serverName {
      records.pointer(exchange.pointee.record).pointee.setHost(name)
    }
    let isCaptured = !downstream.pointee.original.isNone
    if isCaptured { statistics.countCaptured(listener: listener, .tls) }
    if let (routes, number) = rule(of: hello, downstream) {
      statistics.countClientHello(listener: listener, .route)
      follow(exchange, downstream, routes, number)
    } else if isCaptured {
      statistics.countClientHello(listener: listener, .original)
      streamNamed(exchange, downstream, .failed(.unknownName))
    } else if let name = hello.serverName {
      statistics.countClientHello(listener: listener, .name)
      nameStream(exchange, downstream, name)
    } else {
      statistics.countClientHello(listener: listener, .unnamed)
      fail(exchange, .noServerName)
    }
  }

  /// The rule that has a TLS connection. Like those for requests, rules are for what this host's workloads send.
  private func rule(
    of hello: ClientHello, _ downstream: ConnectionPointer
  ) -> (UnsafeMutablePointer<ShardRoutes>, RouteNumber)? {
    guard let routes = state.pointee.routes, !listenerPolicies[Int(downstream.pointee.origin)].isInbound else {
      return nil
    }
    let stream = RoutedStream(
      serverName: hello.serverName, protocols: hello.protocols, workload: downstream.pointee.workload)
    return routes.pointee.table._withUnsafeGuaranteedRef { $0.lookup(stream) }.map { (routes, $0) }
  }

  private func follow(
    _ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ routes: UnsafeMutablePointer<ShardRoutes>,
    _ number: RouteNumber
  ) {
    routes.pointee.exchangeCount += 1
    routes.pointee.hits?[Int(number)].add(1)
    exchange.pointee.route.routes = routes
    exchange.pointee.route.number = number
    exchange.pointee.route.flags.insert(.named)
    guard let destination = exchange.pointee.route.plan?.pointee.chooseDestination(&state.pointee.random) else {
      fail(exchange, .unknownName)
      return
    }
    exchange.pointee.route.target = routes.pointee.firstTarget + destination
    if let resolution = resolve(target: exchange.pointee.route.target) {
      streamNamed(exchange, downstream, resolution)
      return
    }
    let name = routes.pointee.table._withUnsafeGuaranteedRef { $0.destinations[Int(destination)] }
    if !ask(exchange, .name(name)) { fail(exchange, .tooManyNames) }
  }
}
