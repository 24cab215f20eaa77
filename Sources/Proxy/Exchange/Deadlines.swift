// The caller's deadline: taken from `l5d-ctx-deadline` where the listener trusts its clients, kept with the exchange, and told to
// the endpoint. It only ever shortens what the service's own timeouts allow.

import Base
import HTTP
import Policy

extension Shard {
  /// Takes over the deadline of the request in `requestHead`, over `bytes`: of several, the strictest; what is none is passed
  /// over. False when it is over already.
  func takeDeadline(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer) -> Bool {
    if exchange.pointee.flags.contains(.grpc) { takeGRPCTimeout(exchange, bytes) }
    guard listenerPolicies[Int(exchange.pointee.listener)].trustsClients else { return true }
    var found: Deadline?
    var next = requestHead.pointee.fields.firstIndex(of: .l5d)
    while let index = next {
      let field = requestHead.pointee.fields[index]
      if equalIgnoringCase(field.name.slice(of: bytes), deadlineName),
        let deadline = Deadline(parsing: field.value.slice(of: bytes))
      {
        found = found?.combined(with: deadline) ?? deadline
      }
      next = requestHead.pointee.fields.firstIndex(of: .l5d, from: index + 1)
    }
    guard let found else { return true }
    let wallNow = WallClock.nowNanoseconds()
    exchange.pointee.deadlineOfDay = found.wallNanoseconds
    exchange.pointee.callersDeadline = min(
      exchange.pointee.callersDeadline, found.instant(wallNow: wallNow, now: state.pointee.now))
    return found.remainingNanoseconds(wallNow: wallNow) > 0
  }

  /// `lines` with the exchange's deadline behind them, or with less where this node gives up sooner. Valid until the next call.
  func withDeadline(_ lines: UnsafeRawBufferPointer, _ exchange: ExchangePointer) -> UnsafeRawBufferPointer {
    let own = requestTimeoutNanoseconds(exchange, services.service(exchange.pointee.service))
    let wallNow = WallClock.nowNanoseconds()
    let (giveUp, overflow) = wallNow.addingReportingOverflow(own)
    let deadline = min(exchange.pointee.deadlineOfDay, overflow ? .max : giveUp)
    var writer = HTTP1Writer(deadlineLines)
    writer.append(lines)
    writer.append(deadlineName)
    writer.append(": ")
    writer.append(decimal: min(wallNow, deadline))
    writer.append(" ")
    writer.append(decimal: deadline)
    writer.append("\r\n")
    return writer.count.map { UnsafeRawBufferPointer(rebasing: deadlineLines[..<$0]) } ?? lines
  }
}
