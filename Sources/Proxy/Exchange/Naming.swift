// From a request's head to its service: at once where this shard has met the name, else the control thread is asked
// (NameBinder.swift) and the exchange waits, with its head kept as it came and the client's input held. Answers are kept until
// the control thread says that they no longer hold.

import Base
import EventLoop
import Glibc
import HTTP
import Policy

/// What this shard knows of one of the snapshot's targets.
struct TargetAnswer {
  /// The names' generation it holds in; 0 for no answer.
  var generation: UInt32 = 0
  var resolution = Resolution.failed(.unknownName)
}

/// How a request's name is called, in the words of this shard's caches.
private enum NameKey {
  case host
  /// A logical name of so many bytes in `nameScratch`.
  case logical(Int)
  case target(UInt32)
  /// It is called nothing, or what cannot be a name.
  case nothing(ProxyError)
}

extension NameKey {
  fileprivate var isNothing: Bool { if case .nothing = self { true } else { false } }
}

extension Shard {
  // MARK: Requests

  /// Finds what a request's host leads to and goes on with it (`named`). The head is `requestHead`, over `bytes`.
  func name(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    if goesToOriginal(downstream, .failed(.unknownName)), listenerPolicies[Int(exchange.pointee.listener)].isInbound {
      named(exchange, downstream, bytes, .failed(.unknownName))
      return
    }
    let key = identify(bytes)
    let override = override(exchange, bytes)
    if override == nil || key.isNothing, let known = known(key, bytes) {
      named(exchange, downstream, bytes, known)
      return
    }
    keepHead(exchange, bytes)
    if !ask(exchange, subject(key, bytes), override: override) { fail(exchange, .tooManyNames) }
  }

  /// Finds out what a request is called, and with that which part of its path goes on.
  private func identify(_ bytes: UnsafeRawBufferPointer) -> NameKey {
    if state.pointee.identifiers.isHostOnly { return .host }
    switch state.pointee.identifiers.identify(requestHead.pointee, bytes, scratch: nameScratch) {
    case .host: return .host
    case .fixed(let index): return .target(snapshot.fixedTargets[index] ?? noSlot)
    case .none: return .nothing(.unknownName)
    case .refused: return .nothing(.badName)
    case .name(let count, let target):
      if let target { requestHead.pointee.forwardTarget(target) }
      return .logical(count)
    }
  }

  /// What this shard knows of a name; nil when it has to be asked for.
  private func known(_ key: NameKey, _ bytes: UnsafeRawBufferPointer) -> Resolution? {
    switch key {
    case .target(let target): return resolve(target: target)
    case .nothing(let error): return .failed(error)
    case .host: return known(host: requestHead.pointee.authorityRange.slice(of: bytes))
    case .logical(let count):
      guard let cache = state.pointee.logicalNames else { return nil }
      return known(cache.lookup(cacheKey(count), generation: state.pointee.namesGeneration))
    }
  }

  /// What this shard knows of a host; nil when it has to be asked for.
  func known(host: UnsafeRawBufferPointer) -> Resolution? {
    known(names.lookup(host, generation: state.pointee.namesGeneration))
  }

  private func known(_ answer: NameCache.Answer) -> Resolution? {
    switch answer {
    case .service(let number): return .service(number)
    case .tree(let number): return .tree(number)
    case .negative: return .failed(.unknownName)
    case .unknown: return nil
    }
  }

  private func subject(_ key: NameKey, _ bytes: UnsafeRawBufferPointer) -> NameQuestion.Subject {
    switch key {
    case .host: .host(Array(requestHead.pointee.authorityRange.slice(of: bytes)))
    case .logical(let count): .logical(Array(nameScratch[..<count]))
    case .target(let target) where Int(target) < snapshot.targets.count: .name(snapshot.targets[Int(target)])
    case .target, .nothing: .host([])
    }
  }

  /// All names read out of a head begin with `/svc`: what follows tells them apart.
  private func cacheKey(_ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: nameScratch[min(4, count)..<count])
  }

  /// What a trusted client wants its request to be delegated by.
  func override(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer) -> [UInt8]? {
    guard listenerPolicies[Int(exchange.pointee.listener)].trustsClients else { return nil }
    return requestHead.pointee.delegation(in: bytes)
  }

  /// Asks the control thread, whose answer the exchange waits for. False when too much is asked already.
  func ask(_ exchange: ExchangePointer, _ subject: NameQuestion.Subject, override: [UInt8]? = nil) -> Bool {
    guard state.pointee.questionCount < questionLimit else { return false }
    let question = NameQuestion(
      subject: subject, override: override, snapshotGeneration: snapshot.generation, shard: index,
      exchange: exchange.pointee.index,
      exchangeGeneration: exchanges.generation(exchange.pointee.index))
    guard node.ask(question) else { return false }
    state.pointee.questionCount += 1
    exchange.pointee.phase = .naming
    let end = min(deadline(after: namingTimeoutNanoseconds), exchange.pointee.callersDeadline)
    exchangeTimers.schedule(exchange.pointee.index, deadline: end)
    return true
  }

  /// The control thread has answered a question of this shard.
  func answered(_ answer: NameAnswer) {
    state.pointee.questionCount -= 1
    guard exchanges.isAllocated(answer.exchange),
      exchanges.generation(answer.exchange) == answer.exchangeGeneration
    else { return }
    let exchange = exchanges.pointer(answer.exchange)
    guard exchange.pointee.phase == .naming else { return }
    let downstream = connections.pointer(exchange.pointee.downstream)
    if exchange.pointee.route.flags.contains(.isMirror) {
      if answer.holds { keepTargetOfRoute(exchange, answer) }
      mirrorNamed(exchange, answer.resolution)
      return
    }
    if exchange.pointee.flags.contains(.stream) {
      keepAnswer(toStream: exchange, answer)
      streamNamed(exchange, downstream, answer.resolution)
      return
    }
    guard let chunk = takeKeptHead(exchange) else { return }
    let bytes = UnsafeRawBufferPointer(start: chunk.bytes, count: Int(exchange.pointee.headByteCount))
    let (index, generation) = (downstream.pointee.index, downstream.pointee.generation)
    if !parseKeptHead(bytes) {
      fail(exchange, .refused(.badMethod))
    } else if exchange.pointee.route.flags.contains(.named) {
      if answer.holds { keepTargetOfRoute(exchange, answer) }
      named(exchange, downstream, bytes, answer.resolution)
    } else if answer.snapshotGeneration != snapshot.generation {
      // Another configuration may read another name out of the same head.
      name(exchange, downstream, bytes)
    } else {
      let key = identify(bytes)
      if answer.holds { keep(answer.resolution, key, bytes: bytes) }
      named(exchange, downstream, bytes, answer.resolution)
    }
    keptHeadTaken(chunk, index, generation: generation)
  }

  /// A stream's name: that of its rule, of its server, or of its listener.
  private func keepAnswer(toStream exchange: ExchangePointer, _ answer: NameAnswer) {
    if let name = takeKeptHead(exchange) {
      let bytes = UnsafeRawBufferPointer(start: name.bytes, count: Int(exchange.pointee.headByteCount))
      if answer.holds, let kept = kept(answer.resolution) {
        names.insert(bytes, generation: state.pointee.namesGeneration, answer: kept)
      }
      segments.chunks.release(name)
    } else if !answer.holds {
      return
    } else if exchange.pointee.route.flags.contains(.named) {
      keepTargetOfRoute(exchange, answer)
    } else if answer.snapshotGeneration == snapshot.generation {
      let target = listenerPolicies[Int(exchange.pointee.listener)].target
      keep(answer.resolution, .target(target), bytes: nil)
    }
  }

  /// What a stream's client calls its server leads where a request's host would.
  func nameStream(
    _ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ name: UnsafeRawBufferPointer,
    override: [UInt8]? = nil
  ) {
    if override == nil, let resolution = known(host: name) {
      streamNamed(exchange, downstream, resolution)
      return
    }
    keep(exchange, name, name.count)
    if !ask(exchange, .host(Array(name)), override: override) { fail(exchange, .tooManyNames) }
  }

  /// The head that was kept, which is the caller's from now on, for `keptHeadTaken`.
  func takeKeptHead(_ exchange: ExchangePointer) -> Chunk? {
    guard let chunk = Chunk(address: exchange.pointee.head) else { return nil }
    exchange.pointee.head = 0
    return chunk
  }

  /// A kept head has been gone on with: what its client sent behind it follows.
  func keptHeadTaken(_ chunk: Chunk, _ index: UInt32, generation: UInt32) {
    segments.chunks.release(chunk)
    if let downstream = connections.pointer(index, generation: generation), downstream.pointee.isServing {
      resumeInput(downstream)
    }
  }

  private func keep(_ resolution: Resolution, _ key: NameKey, bytes: UnsafeRawBufferPointer?) {
    let generation = state.pointee.namesGeneration
    guard let answer = kept(resolution) else { return }
    switch key {
    case .host:
      guard let bytes else { return }
      names.insert(requestHead.pointee.authorityRange.slice(of: bytes), generation: generation, answer: answer)
    case .logical(let count):
      state.pointee.logicalNames?.insert(cacheKey(count), generation: generation, answer: answer)
    case .target(let target):
      guard Int(target) < state.pointee.targetCount else { return }
      state.pointee.targets?[Int(target)] = TargetAnswer(generation: generation, resolution: resolution)
    case .nothing: break
    }
  }

  /// As the caches have it; nil for what is not kept.
  private func kept(_ resolution: Resolution) -> NameCache.Answer? {
    switch resolution {
    case .service(let number): .service(number)
    case .tree(let number): .tree(number)
    case .failed(.unknownName): .negative
    case .failed: nil
    }
  }

  /// A rule's name: kept where the rule is one of the snapshot that holds now, and nothing but the configuration has a say.
  private func keepTargetOfRoute(_ exchange: ExchangePointer, _ answer: NameAnswer) {
    guard exchange.pointee.route.isCurrent, answer.snapshotGeneration == snapshot.generation else { return }
    keep(answer.resolution, .target(exchange.pointee.route.target), bytes: nil)
  }

  func keepHead(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer) {
    keep(exchange, bytes, requestHead.pointee.headLength)
  }

  /// Keeps the first bytes of a head, or the name of a stream's server.
  func keep(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer, _ count: Int) {
    let chunk = segments.chunks.allocate(count)
    if let base = bytes.baseAddress { memcpy(chunk.bytes, base, count) }
    exchange.pointee.head = chunk.address
    exchange.pointee.headByteCount = UInt32(truncatingIfNeeded: count)
  }

  /// The exchange ends before its name was known.
  func releaseHead(_ exchange: ExchangePointer) {
    guard let chunk = Chunk(address: exchange.pointee.head) else { return }
    exchange.pointee.head = 0
    segments.chunks.release(chunk)
  }

  // MARK: Targets

  /// What a name of the configuration leads to; nil when it has to be asked for.
  func resolve(target: UInt32) -> Resolution? {
    guard Int(target) < state.pointee.targetCount, let known = state.pointee.targets?[Int(target)] else {
      return .failed(.unknownName)
    }
    return known.generation == state.pointee.namesGeneration ? known.resolution : nil
  }

  /// What a service is called; nil for none, and for one that has been given up.
  func serviceName(_ number: ServiceNumber) -> String? {
    services.find(number)?.pointee.identity.takeUnretainedValue().name
  }

  // MARK: Limits

  /// Questions under way on one shard.
  private var questionLimit: Int { 4096 }
  /// How long a request waits for its name. What discovery takes longer for, it has no answer to.
  private var namingTimeoutNanoseconds: UInt64 { 10_000_000_000 }
}

extension RequestHead {
  /// All lines of `l5d-dtab` as the one table they mean; nil without any.
  func delegation(in bytes: UnsafeRawBufferPointer) -> [UInt8]? {
    guard var index = fields.firstIndex(of: .l5d) else { return nil }
    var table: [UInt8] = []
    while true {
      let field = fields[index]
      if Self.isDelegation(field.name.slice(of: bytes)) {
        if !table.isEmpty { table.append(UInt8(ascii: ";")) }
        table += field.value.slice(of: bytes)
      }
      guard let next = fields.firstIndex(of: .l5d, from: index + 1) else { break }
      index = next
    }
    return table.isEmpty ? nil : table
  }

  private static func isDelegation(_ name: UnsafeRawBufferPointer) -> Bool {
    let wanted: StaticString = "l5d-dtab"
    return equalIgnoringCase(name, UnsafeRawBufferPointer(start: wanted.utf8Start, count: wanted.utf8CodeUnitCount))
  }
}
