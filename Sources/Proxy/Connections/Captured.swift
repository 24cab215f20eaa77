// What a fresh connection is: one made to the listener itself, or one that the kernel's rules led here on its way to
// somewhere else; and which protocol it speaks, as far as that is known before its first byte.
//
//   capture: none      →  the listener's protocol
//   redirect, tproxy   →  original destination
//        none, or the listener itself   →  straight: refused, it would go in circles
//        one of our own listeners       →  a loop: refused
//        a port where servers speak first  →  carried as it is, at once
//        else                           →  the first bytes tell (ProtocolDetection.swift), for a bounded time
//
// A captured request is bound by its host as any other. One whose name is unknown, and whatever is not HTTP, goes where its
// client meant it to: to an endpoint of the service `(original)` (OriginalDestinations.swift).

import Base
import CFairlead
import Configuration
import EventLoop
import Glibc
import HTTP

/// A listener's part of the configuration as a shard asks for it.
struct ShardListener {
  let capture: Configuration.Listener.Capture
  let kind: Configuration.Listener.DownstreamProtocol
  /// Captured requests of an unknown name go to their original destination.
  let forwardsUnresolved: Bool
  /// Captured requests go to their original destination whatever their name: it is a workload of this host, and the
  /// caller has balanced already.
  let isInbound: Bool
  /// Endpoints see the client's address.
  var isTransparent: Bool { capture == .tproxy }
  /// What its clients say in `l5d-` fields is believed.
  let trustsClients: Bool
  /// Where the connections of a `tcp` listener go, among the snapshot's targets.
  let target: UInt32
  /// Connections from some sources begin with a header of the PROXY protocol.
  let takesProxyHeaders: Bool
  /// CONNECT leads somewhere.
  let connects: Bool

  init(_ listener: Configuration.Listener, _ snapshot: Snapshot) {
    capture = listener.capture
    kind = listener.protocol
    forwardsUnresolved = listener.unresolved == .forward
    isInbound = listener.direction == .inbound
    trustsClients = listener.trust == .clients
    takesProxyHeaders = !listener.proxySources.isEmpty
    connects = !listener.connect.isEmpty
    target = listener.to.flatMap { snapshot.target($0) } ?? noSlot
  }
}

extension Shard {
  /// Finds out where a fresh downstream connection was going and whose it is, and serves it, at once or when that is known.
  func classify(_ connection: ConnectionPointer) {
    let capture = listenerPolicies[Int(connection.pointee.origin)].capture
    if capture != .none { findOriginalDestination(connection, capture) }
    if listenerPolicies[Int(connection.pointee.origin)].takesProxyHeaders, expectProxyHeader(connection) { return }
    if attribute(connection) { serve(connection) }
  }

  /// Decides how a fresh downstream connection is read, and begins to.
  func serve(_ connection: ConnectionPointer) {
    let listener = listenerPolicies[Int(connection.pointee.origin)]
    let isKnown = !connection.pointee.original.isNone
    connection.pointee.wire = .http1
    let isStream = listener.kind == .tcp || listener.kind == .tls || listener.kind == .detect && isKnown
    if refuseConnection(connection, isStream: isStream) { return }
    switch listener.kind {
    case .tcp: beginStream(connection)
    case .detect where isKnown && serverSpeaksFirst(connection.pointee.original.port): beginStream(connection)
    case .detect where isKnown:
      connection.pointee.wire = .undetected
      connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: detectTimeoutNanoseconds))
    case .tls:
      connection.pointee.wire = .clientHello
      let wait = state.pointee.isDraining ? drainGraceNanoseconds : detectTimeoutNanoseconds
      connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: wait))
    case .detect, .http1, .http2:
      if isKnown {
        statistics.countCaptured(
          listener: Int(connection.pointee.origin), listener.kind == .http2 ? .http2 : .http1)
      }
      // Taken on the last lap, who has nothing to ask must not hold up the end.
      let wait = state.pointee.isDraining ? drainGraceNanoseconds : limits.headerTimeoutNanoseconds
      connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: wait))
    }
    armReceive(connection)
  }

  private func findOriginalDestination(_ connection: ConnectionPointer, _ capture: Configuration.Listener.Capture) {
    var local = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    withUnsafeMutablePointer(to: &local) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = getsockname(connection.pointee.descriptor, $0, &length)
      }
    }
    let own = PeerAddress(local)
    var original = own
    if capture == .redirect {
      var storage = sockaddr_storage()
      guard fl_original_destination(connection.pointee.descriptor, &storage) == 0 else {
        connection.pointee.flags.insert(.straight)
        return
      }
      original = PeerAddress(storage)
      if original == own {
        connection.pointee.flags.insert(.straight)
        return
      }
    }
    // The listeners' own ports on another host are an ordinary destination; on this one they would be a circle.
    if node.ownPorts.contains(original.port), EndpointSocketAddress(original).isLocal {
      connection.pointee.flags.insert(capture == .tproxy ? .straight : .selfLoop)
    } else {
      connection.pointee.original = original
    }
  }

  private func serverSpeaksFirst(_ port: UInt16) -> Bool {
    snapshot.configuration.capture.serverFirstPorts.contains(port)
  }

  /// Why a connection on a capturing listener is not served; nil when it is.
  func captureRefusal(_ connection: ConnectionPointer) -> ProxyError? {
    if connection.pointee.flags.contains(.straight) { return .straightConnection }
    if connection.pointee.flags.contains(.selfLoop) { return .selfLoop }
    return nil
  }

  /// Whether a request goes to its original destination: its name leads nowhere, or it has arrived where it was sent.
  func goesToOriginal(_ connection: ConnectionPointer, _ resolution: Resolution) -> Bool {
    if connection.pointee.original.isNone { return false }
    let listener = listenerPolicies[Int(connection.pointee.origin)]
    if listener.isInbound { return true }
    guard listener.forwardsUnresolved, case .failed(let error) = resolution else { return false }
    return error == .unknownName || error == .noHost || error == .badName
  }

  // MARK: Detection

  /// Looks at the first bytes of a captured connection. Returns how many were taken.
  func detectProtocol(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    if connection.pointee.codec.assembly == 0 {
      switch ProtocolDetection.detect(UnsafeRawBufferPointer(start: bytes, count: count)) {
      case .http1:
        becomeHTTP(connection, .http1)
        return processRequestBytes(connection, bytes, count, owner)
      case .http2:
        becomeHTTP(connection, .http2)
        return processRequestBytes(connection, bytes, count, owner)
      case .tlsClientHello:
        connection.pointee.wire = .clientHello
        return takeClientHello(connection, bytes, count)
      case .opaque:
        beginStream(connection)
        return 0
      case .undecided: break
      }
    }
    let isDecidable = ProtocolDetection.canDecide(
      UnsafeRawBufferPointer(start: bytes, count: count), after: Int(connection.pointee.codec.assembledCount))
    guard
      appendToAssembly(connection, UnsafeRawBufferPointer(start: bytes, count: count), limit: limits.head.headerBytes)
    else {
      // More than any request line has, and no end of a line: not HTTP/1.
      beginStream(connection)
      connection.pointee.flags.insert(.detected)
      return 0
    }
    guard isDecidable else { return count }
    switch ProtocolDetection.detect(assembled(connection)) {
    case .undecided: return count
    case .http1: becomeHTTP(connection, .http1)
    case .http2: becomeHTTP(connection, .http2)
    case .tlsClientHello:
      connection.pointee.wire = .clientHello
      lookAtClientHello(connection)
      return count
    case .opaque: beginStream(connection)
    }
    // What was gathered is taken up when these bytes have been: it comes in front of all that follows.
    connection.pointee.flags.insert(.detected)
    return count
  }

  /// Either version: what makes it HTTP/2 is looked for in front of the first request.
  private func becomeHTTP(_ connection: ConnectionPointer, _ spoken: CapturedProtocol) {
    statistics.countCaptured(listener: Int(connection.pointee.origin), spoken)
    connection.pointee.wire = .http1
    connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: limits.headerTimeoutNanoseconds))
  }

  /// The time for the first bytes is over, or the client has ended before they told anything: carried as it is.
  func detectionEnded(_ connection: ConnectionPointer) {
    if releaseGathered(connection) { beginStream(connection) }
  }

  /// The bytes that detection had gathered are input again, in front of all that follows. False when that cannot be and the
  /// connection has been closed.
  func releaseGathered(_ connection: ConnectionPointer) -> Bool {
    guard let chunk = Chunk(address: connection.pointee.codec.assembly) else { return true }
    let count = Int(connection.pointee.codec.assembledCount)
    connection.pointee.codec.assembly = 0
    connection.pointee.codec.assembledCount = 0
    var gathered = SegmentQueue()
    guard segments.append(&gathered, chunk.bytes, count, owner: BufferOwner(chunk: chunk)) else {
      close(connection, abort: true)
      return false
    }
    segments.moveAll(from: &connection.pointee.input, to: &gathered)
    connection.pointee.input = gathered
    return true
  }

  var detectTimeoutNanoseconds: UInt64 { snapshot.configuration.capture.detectTimeout.wholeNanoseconds }
}
