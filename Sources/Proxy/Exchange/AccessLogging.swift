// What the access log will say of an exchange: noted while its head is there, completed when it ends, and put into the
// shard's ring. With the ring full the record is lost and counted; a shard never waits for a disk.

import Base
import Capture
import Configuration
import HTTP
import Telemetry

extension Shard {
  /// Notes what only the head knows.
  func openRecord(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    guard let index = records.allocate() else { return }
    let record = records.pointer(index)
    record.initialize(to: AccessRecord())
    record.pointee.setMethod(requestHead.pointee.methodRange.slice(of: bytes))
    record.pointee.setHost(requestHead.pointee.authorityRange.slice(of: bytes))
    record.pointee.setPath(requestHead.pointee.pathAndQueryRange.slice(of: bytes))
    record.pointee.httpVersion =
      downstream.pointee.wire == .http2 ? 20 : requestHead.pointee.version == .http10 ? 10 : 11
    record.pointee.listener = node.logNames.listener(Int(downstream.pointee.origin))
    record.pointee.peer = RecordedAddress(downstream.pointee.peer)
    record.pointee.workload = sharing.pointee.workloads[Int(downstream.pointee.workload)].logName
    if requestHead.pointee.hasTraceparent { noteTrace(record, bytes) }
    exchange.pointee.record = index
  }

  /// Notes what is known of a stream that begins.
  func openStreamRecord(_ exchange: ExchangePointer, _ downstream: ConnectionPointer) {
    guard let index = records.allocate() else { return }
    let record = records.pointer(index)
    record.initialize(to: AccessRecord())
    record.pointee.listener = node.logNames.listener(Int(downstream.pointee.origin))
    record.pointee.peer = RecordedAddress(downstream.pointee.peer)
    record.pointee.workload = sharing.pointee.workloads[Int(downstream.pointee.workload)].logName
    exchange.pointee.record = index
  }

  private func noteTrace(_ record: UnsafeMutablePointer<AccessRecord>, _ bytes: UnsafeRawBufferPointer) {
    guard let position = requestHead.pointee.fields.firstIndex(of: .traceparent) else { return }
    let value = requestHead.pointee.fields[position].value.slice(of: bytes)
    guard let context = TraceContext.parse(value.bytes) else { return }
    record.pointee.traceHigh = context.traceHigh
    record.pointee.traceLow = context.traceLow
  }

  /// A request that never became an exchange: what is known of it is its client and why it was refused.
  func recordRefusal(_ downstream: ConnectionPointer, _ error: ProxyError) {
    guard let accessLog, let slot = accessLog.reserve() else { return }
    slot.pointee.reset()
    slot.pointee.wallTimeNanoseconds = WallClock.nowNanoseconds()
    slot.pointee.listener = node.logNames.listener(Int(downstream.pointee.origin))
    slot.pointee.peer = RecordedAddress(downstream.pointee.peer)
    slot.pointee.workload = sharing.pointee.workloads[Int(downstream.pointee.workload)].logName
    slot.pointee.status = error.status
    slot.pointee.errorCode = error.code
    if accessLog.commit() { node.accessLogIsHalfFull() }
  }

  /// Completes the record and passes it on.
  func closeRecord(_ exchange: ExchangePointer) {
    let index = exchange.pointee.record
    exchange.pointee.record = noSlot
    let record = records.pointer(index)
    let now = state.pointee.now
    let duration = now.nanoseconds(since: exchange.pointee.startedAt)
    record.pointee.wallTimeNanoseconds = WallClock.nowNanoseconds() &- duration
    record.pointee.durationNanoseconds = duration
    record.pointee.firstByteNanoseconds = exchange.pointee.firstByteAt.nanoseconds(since: exchange.pointee.startedAt)
    record.pointee.bytesIn = exchange.pointee.requestByteCount
    record.pointee.bytesOut = exchange.pointee.responseByteCount
    record.pointee.status = exchange.pointee.status
    record.pointee.errorCode = exchange.pointee.errorCode
    record.pointee.retryCount = exchange.pointee.attempts > 0 ? exchange.pointee.attempts - 1 : 0
    if exchange.pointee.flags.contains(.hedged) {
      record.pointee.hedge = exchange.pointee.flags.contains(.hedgeWon) ? .won : .lost
    }
    if exchange.pointee.service != noSlot {
      let service = services.service(exchange.pointee.service)
      record.pointee.service = service.pointee.logName
      if exchange.pointee.endpoint != noSlot {
        record.pointee.endpoint = RecordedAddress(
          service.pointee.endpoints[Int(exchange.pointee.endpoint)].address.pointee.peer)
      }
    }
    if let accessLog, let slot = accessLog.reserve() {
      slot.pointee = record.pointee
      if accessLog.commit() { node.accessLogIsHalfFull() }
    }
    records.free(index)
  }
}

/// The numbers of the snapshot's listeners in the log's table of names.
struct LogNames: Sendable {
  private let listeners: [UInt32]

  init(_ snapshot: Snapshot, _ names: NameTable) {
    listeners = snapshot.configuration.listeners.map { names.number(of: $0.name) }
  }

  func listener(_ index: Int) -> UInt32 { index < listeners.count ? listeners[index] : 0 }
}

extension RecordedAddress {
  init(_ peer: PeerAddress) {
    self.init()
    (high, low, port) = (peer.high, peer.low, peer.port)
  }
}
