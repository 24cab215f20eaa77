// Rules on a request's way: found before its name is asked for, they may send it elsewhere, change it, delay it, break it on
// purpose, or answer it at once. What a rule is and how it is found stands in Policy/Routing; here it is carried out.
//
//   route    which rule            → delay: the head is kept, and the exchange waits as for a name
//   follow   what it says          → abort · redirect or respond · its destination's name, else the host's (Naming.swift)
//   …        on the way            → changed heads, the request's time, a copy for the mirror (Mirroring.swift)
//
// Rules are for what this host's workloads send: requests on inbound listeners have been through the sender's.

import Base
import Configuration
import EventLoop
import HTTP
import Policy
import Telemetry

/// The rules of one configuration on one shard. Behind a pointer, and alive as long as an exchange goes by one of them.
struct ShardRoutes {
  let table: Unmanaged<RouteTable>
  /// Where the rules' destinations begin among the snapshot's targets.
  let firstTarget: UInt32
  /// By rule; nil where nobody counts.
  let hits: UnsafePointer<CounterCell>?
  /// By rule; nil where none says anything of retries.
  let retries: UnsafePointer<RouteRetries>?
  /// By rule; nil where none has a rate.
  let rates: UnsafePointer<RouteRate>?
  /// What the access log calls them; nil where none is written.
  let logNames: UnsafePointer<UInt32>?
  /// Keeps `hits`, `retries`, `rates` and `logNames`.
  let cells: Unmanaged<RouteCells>?
  var exchangeCount = 0
  /// Another configuration holds: only exchanges that have begun go on by these.
  var isRetired = false
}

/// An exchange's rule.
struct ExchangeRoute {
  struct Flags: OptionSet {
    var rawValue: UInt8
    /// Waits out an injected delay.
    static let delayed = Flags(rawValue: 1 << 0)
    /// Goes to a name that the rule gives: where that leads nowhere, so does the request.
    static let named = Flags(rawValue: 1 << 1)
    /// Is itself a copy: nobody waits for its response.
    static let isMirror = Flags(rawValue: 1 << 2)
    /// Is itself the second attempt of another.
    static let isHedge = Flags(rawValue: 1 << 3)
  }

  /// Nil where no rule matched.
  var routes: UnsafeMutablePointer<ShardRoutes>?
  var number: RouteNumber = 0
  var flags: Flags = []
  /// The name it goes to, among the snapshot's targets; `noSlot` for the host's, and for one of a former snapshot.
  var target: UInt32 = noSlot
  /// The copy that grows with this request; `noSlot` for none.
  var mirror: UInt32 = noSlot
  /// The rule's own limit; 0 for the service's.
  var timeoutNanoseconds: UInt64 = 0

  /// Whether its targets are those of the snapshot that holds now.
  var isCurrent: Bool { routes.map { !$0.pointee.isRetired } ?? false }

  /// Valid as long as the exchange has the rule.
  var plan: UnsafePointer<RoutePlan>? {
    guard let routes else { return nil }
    return routes.pointee.table._withUnsafeGuaranteedRef { $0.plan(number) }
  }
}

extension Shard {
  // MARK: Finding

  /// Finds the rule that has a request and does what it says; without one the request goes where its host says. The head is
  /// `requestHead`, over `bytes`.
  func route(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    guard let routes = state.pointee.routes, !listenerPolicies[Int(exchange.pointee.listener)].isInbound else {
      name(exchange, downstream, bytes)
      return
    }
    let found = routes.pointee.table._withUnsafeGuaranteedRef {
      $0.lookup(requestHead.pointee, bytes, workload: downstream.pointee.workload, patterns)
    }
    if found.limitedCount > 0 { statistics.routing.patternLimits.add(UInt64(found.limitedCount)) }
    if found.isExhausted {
      fail(exchange, .patternsTooSlow)
      return
    }
    guard let number = found.number else {
      name(exchange, downstream, bytes)
      return
    }
    routes.pointee.exchangeCount += 1
    routes.pointee.hits?[Int(number)].add(1)
    exchange.pointee.route.routes = routes
    exchange.pointee.route.number = number
    if exchange.pointee.record != noSlot, let names = routes.pointee.logNames {
      records.pointer(exchange.pointee.record).pointee.route = names[Int(number)]
    }
    guard let plan = exchange.pointee.route.plan else { return }
    exchange.pointee.route.timeoutNanoseconds = plan.pointee.timeoutNanoseconds ?? 0
    if plan.pointee.delayShare.draw(&state.pointee.random) {
      delay(exchange, bytes, nanoseconds: plan.pointee.delayNanoseconds)
    } else {
      follow(exchange, downstream, bytes)
    }
  }

  /// The rule's name of the exchange, which has one: asked for unless this shard knows what it leads to.
  private func nameDestination(
    _ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer,
    _ routes: UnsafeMutablePointer<ShardRoutes>, _ destination: UInt32
  ) {
    exchange.pointee.route.flags.insert(.named)
    let override = override(exchange, bytes)
    if override == nil, exchange.pointee.route.isCurrent {
      exchange.pointee.route.target = routes.pointee.firstTarget + destination
      if let resolution = resolve(target: exchange.pointee.route.target) {
        named(exchange, downstream, bytes, resolution)
        return
      }
    }
    keepHead(exchange, bytes)
    let name = routes.pointee.table._withUnsafeGuaranteedRef { $0.destinations[Int(destination)] }
    if !ask(exchange, .name(name), override: override) { fail(exchange, .tooManyNames) }
  }

  // MARK: Following

  /// What the rule says, once any delay is over.
  private func follow(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    guard let routes = exchange.pointee.route.routes, let plan = exchange.pointee.route.plan else { return }
    if plan.pointee.abortShare.draw(&state.pointee.random) {
      statistics.routing.aborts.add(1)
      fail(exchange, .aborted(plan.pointee.abortStatus))
    } else if plan.pointee.answersItself {
      answer(exchange, downstream, bytes, routes)
    } else if let destination = plan.pointee.chooseDestination(&state.pointee.random) {
      nameDestination(exchange, downstream, bytes, routes, destination)
    } else {
      name(exchange, downstream, bytes)
    }
  }

  private func delay(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer, nanoseconds: UInt64) {
    statistics.routing.delays.add(1)
    keepHead(exchange, bytes)
    exchange.pointee.phase = .naming
    exchange.pointee.route.flags.insert(.delayed)
    let end = min(deadline(after: nanoseconds), exchange.pointee.callersDeadline)
    exchangeTimers.schedule(exchange.pointee.index, deadline: end)
  }

  /// An injected delay is over: the request goes on as if it had just come, with what its caller has left of its time.
  func delayEnded(_ exchange: ExchangePointer) {
    exchange.pointee.route.flags.remove(.delayed)
    guard let chunk = takeKeptHead(exchange) else { return }
    let bytes = UnsafeRawBufferPointer(start: chunk.bytes, count: Int(exchange.pointee.headByteCount))
    let downstream = connections.pointer(exchange.pointee.downstream)
    let (index, generation) = (downstream.pointee.index, downstream.pointee.generation)
    if parseKeptHead(bytes) {
      follow(exchange, downstream, bytes)
    } else {
      fail(exchange, .refused(.badMethod))
    }
    keptHeadTaken(chunk, index, generation: generation)
  }

  /// The rule answers by itself: a redirect, or a response that stands ready.
  private func answer(
    _ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer,
    _ routes: UnsafeMutablePointer<ShardRoutes>
  ) {
    let number = exchange.pointee.route.number
    let requestComplete = exchange.pointee.flags.contains(.requestComplete)
    let codec = downstream.pointee.codec
    let closes =
      !requestComplete || !codec.flags.contains(.keepAlive) || state.pointee.isDraining
      || downstream.pointee.flags.contains(.closeAfterExchange)
    // Written while the exchange still has its rule; sent at the end of the turn.
    let via = viaLine(of: downstream)
    let written = routes.pointee.table._withUnsafeGuaranteedRef { table in
      exchange.pointee.status = table.answerStatus(number) ?? 0
      let room = table.answerBound(number, requestHead.pointee, via: via)
      guard let target = reserve(downstream, room) else { return nil as Int? }
      return table.writeAnswer(
        number, requestHead.pointee, bytes, patterns, via: via, closes: closes,
        withBody: !codec.flags.contains(.headRequest),
        into: UnsafeMutableRawBufferPointer(start: target, count: room))
    }
    finish(exchange)
    guard let written else {
      close(downstream, abort: true)
      return
    }
    commit(downstream, written)
    if downstream.pointee.wire == .http2 { submitWrittenResponse(downstream) }
    if closes { downstream.pointee.codec.flags.remove(.keepAlive) }
    downstreamStreamEnded(downstream, requestComplete: requestComplete)
  }

  // MARK: Changed heads

  /// Whether the rule changes the request's head.
  func changesRequestHead(_ exchange: ExchangePointer) -> Bool {
    guard let plan = exchange.pointee.route.plan else { return false }
    return plan.pointee.rewritesPath || !plan.pointee.requestEdits.isEmpty
  }

  /// Serializes the request head with the rule's changes, as `writeRequestHead` does without. False when it does not fit.
  func writeChangedRequestHead(
    _ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer, authority: UnsafeRawBufferPointer,
    extra: UnsafeRawBufferPointer
  ) -> Bool {
    guard let routes = exchange.pointee.route.routes, let plan = exchange.pointee.route.plan else { return false }
    var edits = plan.pointee.requestEdits
    var target: Chunk?
    defer { if let target { segments.chunks.release(target) } }
    if plan.pointee.rewritesPath {
      let number = exchange.pointee.route.number
      let outcome = routes.pointee.table._withUnsafeGuaranteedRef { table in
        let room = table.targetBound(number, requestHead.pointee)
        let chunk = segments.chunks.allocate(room)
        target = chunk
        return table.writeTarget(
          number, requestHead.pointee, bytes, patterns,
          into: UnsafeMutableRawBufferPointer(start: chunk.bytes, count: room))
      }
      switch outcome {
      case .written(let count): edits.target = UnsafeRawBufferPointer(start: target?.bytes, count: count)
      case .unchanged: break
      case .limited: statistics.routing.patternLimits.add(1)
      case .tooLong: return false
      }
    }
    let room = HTTP1Serializer.requestBound(requestHead.pointee, extra: extra) + edits.addedByteCount
    let chunk = segments.chunks.allocate(room)
    let written = HTTP1Serializer.writeRequest(
      requestHead.pointee, from: bytes, connection: requestHead.pointee.wantsUpgrade ? .upgrade : .none,
      authority: authority, extra: extra, edits: edits,
      into: UnsafeMutableRawBufferPointer(start: chunk.bytes, count: room))
    guard let written else {
      segments.chunks.release(chunk)
      return false
    }
    return segments.append(&exchange.pointee.request, chunk.bytes, written, owner: BufferOwner(chunk: chunk))
  }

  /// How long the whole request may take: as its rule says, or else its service.
  func requestTimeoutNanoseconds(
    _ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>
  ) -> UInt64 {
    let ruled = exchange.pointee.route.timeoutNanoseconds
    return ruled > 0 ? ruled : service.pointee.policy.requestTimeoutNanoseconds
  }

  /// Which attempts are repeated and how: as the service says, with what the rule says laid over it.
  func retries(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) -> RetryPolicy {
    guard let routes = exchange.pointee.route.routes, let retries = routes.pointee.retries else {
      return service.pointee.policy.retries
    }
    return RetryPolicy(service.pointee.policy.retries, overriddenBy: retries[Int(exchange.pointee.route.number)])
  }

  /// How many of its requests the rule lets go on; nil for all.
  func rate(_ exchange: ExchangePointer) -> UnsafePointer<RouteRate>? {
    guard let rates = exchange.pointee.route.routes?.pointee.rates else { return nil }
    let rate = rates + Int(exchange.pointee.route.number)
    return rate.pointee.cell == nil ? nil : rate
  }

  // MARK: Rules come and go

  /// The snapshot's rules are those of new requests from now on.
  func setRoutes() {
    if let former = state.pointee.routes {
      former.pointee.isRetired = true
      state.pointee.routes = nil
      freeIfUnused(former)
    }
    guard !snapshot.routes.isEmpty else { return }
    let routes = UnsafeMutablePointer<ShardRoutes>.allocate(capacity: 1)
    routes.initialize(
      to: ShardRoutes(
        table: .passRetained(snapshot.routes), firstTarget: snapshot.firstRouteTarget,
        hits: snapshot.routeCells?.cells(of: index), retries: snapshot.routeCells?.retries,
        rates: snapshot.routeCells?.rates?.table, logNames: snapshot.routeCells?.logNames,
        cells: snapshot.routeCells.map { .passRetained($0) }))
    state.pointee.routes = routes
  }

  /// The exchange ends: its rule is no longer needed.
  func leaveRoute(_ exchange: ExchangePointer) {
    guard let routes = exchange.pointee.route.routes else { return }
    exchange.pointee.route.routes = nil
    routes.pointee.exchangeCount -= 1
    if routes.pointee.isRetired { freeIfUnused(routes) }
  }

  private func freeIfUnused(_ routes: UnsafeMutablePointer<ShardRoutes>) {
    if routes.pointee.exchangeCount == 0 { free(routes) }
  }

  /// At the shard's end, when nothing goes by them any more.
  func destroyRoutes() {
    if let routes = state.pointee.routes { free(routes) }
  }

  private func free(_ routes: UnsafeMutablePointer<ShardRoutes>) {
    routes.pointee.table.release()
    routes.pointee.cells?.release()
    routes.deinitialize(count: 1)
    routes.deallocate()
  }
}
