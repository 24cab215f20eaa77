// The PROXY protocol on our connections. In: a connection from a source that its listener lists begins with a header, and its
// client is the one named there: for its workload, for hashing by source, for the access log. From anybody else a header is
// refused, wherever it could be taken for one: who is not believed must not have the next one believe it. Out: a new connection to an
// endpoint of a service with `proxyProtocol` begins with a header that names its client.
//
// The address that a header names as the destination leads nowhere: where a connection goes is said by what comes behind it.

import Base
import CFairlead
import Capture
import Configuration
import EventLoop
import Glibc

extension ServicePolicy.ProxyProtocol {
  var version: ProxyHeader.Version? {
    switch self {
    case .none: nil
    case .v1: .v1
    case .v2: .v2
    }
  }
}

extension Shard {
  // MARK: In, from a listed source

  /// Whether a fresh connection begins with a header, which is then waited for.
  func expectProxyHeader(_ connection: ConnectionPointer) -> Bool {
    let address = connection.pointee.peer.address
    guard !connection.pointee.peer.isNone,
      snapshot.proxySources[Int(connection.pointee.origin)]?.value(of: address) == 1
    else {
      connection.pointee.flags.insert(.stranger)
      return false
    }
    connection.pointee.wire = .proxyHeader
    // Whose it is comes with the header; until then it is nobody's.
    statistics.workloads.countConnection(1, workload: 0)
    let wait = state.pointee.isDraining ? drainGraceNanoseconds : detectTimeoutNanoseconds
    connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: wait))
    armReceive(connection)
    return true
  }

  /// Bytes of a connection that begins with a header. Returns how many were taken.
  func takeProxyHeader(_ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    let before = Int(connection.pointee.codec.assembledCount)
    let room = max(ProxyHeader.maximumByteCount - before, 0)
    let received = UnsafeRawBufferPointer(start: bytes, count: min(count, room))
    var all = received
    if before > 0 {
      _ = appendToAssembly(connection, received, limit: ProxyHeader.maximumByteCount)
      all = assembled(connection)
    }
    switch ProxyHeader.parse(all) {
    case .incomplete:
      if before == 0 { _ = appendToAssembly(connection, received, limit: ProxyHeader.maximumByteCount) }
      return received.count
    case .complete(let header):
      releaseAssembly(connection)
      take(header, connection)
      return header.byteCount - before
    case .absent: refuse(connection, .proxyHeaderMissing, .missing)
    case .refused: refuse(connection, .badProxyHeader, .malformed)
    }
    return count
  }

  /// The header is there: the connection begins behind it.
  private func take(_ header: ProxyHeader, _ connection: ConnectionPointer) {
    statistics.countProxyHeader(listener: Int(connection.pointee.origin), header.ends == nil ? .own : .client)
    if let ends = header.ends {
      let peer = PeerAddress(high: ends.source.high, low: ends.source.low, port: ends.sourcePort)
      if !peer.isNone { connection.pointee.peer = peer }
    }
    connectionTimers.cancel(connection.pointee.index)
    statistics.workloads.countConnection(-1, workload: 0)
    if attribute(connection) {
      serve(connection)
      // What came with the header is to be taken once this has been.
      connection.pointee.flags.insert(.detected)
    } else {
      connection.pointee.flags.insert(.inputHeld)
    }
  }

  /// The time for the header is over, or its client has ended before all of it had come.
  func proxyHeaderEnded(_ connection: ConnectionPointer) {
    // It has come, and its workload is being asked for: what follows waits until that is known, the end as well.
    if connection.pointee.flags.contains(.inputHeld) { return }
    if connection.pointee.codec.assembly == 0, connection.pointee.flags.contains(.peerFinished) {
      // A balancer that only looks whether somebody listens.
      close(connection)
    } else {
      refuse(connection, .proxyHeaderTruncated, .truncated)
    }
  }

  private func refuse(_ connection: ConnectionPointer, _ error: ProxyError, _ outcome: ProxyHeaderOutcome) {
    statistics.countProxyHeader(listener: Int(connection.pointee.origin), outcome)
    refuseStream(connection, error)
  }

  // MARK: In, from anybody else

  /// The first bytes of a connection whose sender is not believed. Returns how many were taken.
  func takeStrangersBytes(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    let before = Int(connection.pointee.codec.assembledCount)
    let looked = UnsafeRawBufferPointer(
      start: bytes, count: min(count, max(ProxyHeader.beginningByteCount - before, 0)))
    if before == 0 {
      switch ProxyHeader.begins(looked) {
      case nil:
        connection.pointee.flags.remove(.stranger)
        return process(connection, bytes, count, owner)
      case .version:
        refuse(connection, .proxyHeaderRefused, .stranger)
        return count
      case .incomplete:
        // What begins like a header and stays as short must not be held for long.
        if connection.pointee.wire == .tunnel {
          connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: detectTimeoutNanoseconds))
        }
      }
    }
    _ = appendToAssembly(connection, looked, limit: ProxyHeader.beginningByteCount)
    if before == 0 { return looked.count }
    switch ProxyHeader.begins(assembled(connection)) {
    case nil:
      connection.pointee.flags.remove(.stranger)
      if connection.pointee.wire == .tunnel { connectionTimers.cancel(connection.pointee.index) }
      connection.pointee.flags.insert(.detected)
    case .version: refuse(connection, .proxyHeaderRefused, .stranger)
    case .incomplete: break
    }
    return looked.count
  }

  /// No more bytes will tell, or not in time: what has come is no header. False when nothing was held, or it is for those to
  /// say who wait for these bytes themselves.
  func letStrangerPass(_ connection: ConnectionPointer) -> Bool {
    guard connection.pointee.codec.assembly != 0 else { return false }
    connection.pointee.flags.remove(.stranger)
    let hasEnded = connection.pointee.flags.contains(.peerFinished)
    guard hasEnded || connection.pointee.wire == .tunnel else { return false }
    if releaseGathered(connection) { resumeInput(connection) }
    return true
  }

  // MARK: Out

  /// Sends the header of an upstream connection that has just opened, where its service wants one. False when that cannot be.
  ///
  /// Not queued with what follows: a request may be taken back from a connection that fails, and sent on another; the header
  /// is this one's. The socket's buffer is empty, so this does not block.
  func sendProxyHeader(_ connection: ConnectionPointer) -> Bool {
    guard let version = services.service(connection.pointee.origin).pointee.policy.proxyHeader else { return true }
    guard connection.pointee.exchange != noSlot else {
      // Its client is gone, and it is nobody else's.
      close(connection)
      return false
    }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    let header = ProxyHeader.bytes(version, ends(of: connections.pointer(exchange.pointee.downstream)))
    let sent = header.withUnsafeBytes {
      Glibc.send(connection.pointee.descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
    guard sent == header.count else {
      connectFailed(connection, .endpointUnreachable)
      return false
    }
    connection.pointee.bytesSent &+= UInt64(header.count)
    return true
  }

  /// A client and what it connected to; nil for one without an address.
  private func ends(of downstream: ConnectionPointer) -> ProxiedEnds? {
    let source = downstream.pointee.peer
    var destination = downstream.pointee.original
    if destination.isNone {
      // A stream of a connection with HTTP/2 has none of its own.
      let socket =
        downstream.pointee.flags.contains(.stream)
        ? connections.pointer(downstream.pointee.session).pointee.descriptor : downstream.pointee.descriptor
      var storage = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let result = withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket, $0, &length) }
      }
      guard result == 0 else { return nil }
      destination = PeerAddress(storage)
    }
    if source.isNone || destination.isNone { return nil }
    return ProxiedEnds(
      source: source.address, sourcePort: source.port, destination: destination.address,
      destinationPort: destination.port)
  }
}
