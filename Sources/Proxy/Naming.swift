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
  var service: ServiceNumber = noSlot
}

extension Shard {
  // MARK: Requests

  /// Finds what a request's host leads to and goes on with it (`named`). The head is `requestHead`, over `bytes`.
  func name(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    if goesToOriginal(downstream, .failed(.unknownName)), listenerPolicies[Int(exchange.pointee.listener)].isInbound {
      named(exchange, downstream, bytes, .failed(.unknownName))
      return
    }
    let host = requestHead.pointee.authorityRange.slice(of: bytes)
    switch names.lookup(host, generation: state.pointee.namesGeneration) {
    case .service(let number): named(exchange, downstream, bytes, .service(number))
    case .negative: named(exchange, downstream, bytes, .failed(.unknownName))
    case .unknown:
      keepHead(exchange, bytes)
      if !ask(exchange, .host(Array(host))) { fail(exchange, .tooManyNames) }
    }
  }

  /// Asks the control thread, whose answer the exchange waits for. False when too much is asked already.
  func ask(_ exchange: ExchangePointer, _ subject: NameQuestion.Subject) -> Bool {
    guard state.pointee.questionCount < questionLimit else { return false }
    let question = NameQuestion(
      subject: subject, shard: index, exchange: exchange.pointee.index,
      exchangeGeneration: exchanges.generation(exchange.pointee.index))
    guard node.ask(question) else { return false }
    state.pointee.questionCount += 1
    exchange.pointee.phase = .naming
    exchangeTimers.schedule(exchange.pointee.index, deadline: deadline(after: namingTimeoutNanoseconds))
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
    if exchange.pointee.flags.contains(.stream) {
      if answer.holds { keep(answer.resolution, ofTarget: listenerPolicies[Int(exchange.pointee.listener)].target) }
      streamNamed(exchange, downstream, answer.resolution)
      return
    }
    guard let chunk = Chunk(address: exchange.pointee.head) else { return }
    let bytes = UnsafeRawBufferPointer(start: chunk.bytes, count: Int(exchange.pointee.headByteCount))
    exchange.pointee.head = 0
    let generation = downstream.pointee.generation
    if parseKeptHead(bytes) {
      if answer.holds { keep(answer.resolution, ofHost: requestHead.pointee.authorityRange.slice(of: bytes)) }
      named(exchange, downstream, bytes, answer.resolution)
    } else {
      fail(exchange, .refused(.badMethod))
    }
    segments.chunks.release(chunk)
    let index = downstream.pointee.index
    if let downstream = connections.pointer(index, generation: generation), downstream.pointee.isServing {
      resumeInput(downstream)
    }
  }

  private func keep(_ resolution: Resolution, ofHost host: UnsafeRawBufferPointer) {
    let generation = state.pointee.namesGeneration
    switch resolution {
    case .service(let number): names.insert(host, generation: generation, answer: .service(number))
    case .failed(.unknownName): names.insert(host, generation: generation, answer: .negative)
    case .failed: break
    }
  }

  private func keepHead(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer) {
    let count = requestHead.pointee.headLength
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
    return known.generation == state.pointee.namesGeneration ? .service(known.service) : nil
  }

  private func keep(_ resolution: Resolution, ofTarget target: UInt32) {
    guard case .service(let number) = resolution, Int(target) < state.pointee.targetCount else { return }
    state.pointee.targets?[Int(target)] = TargetAnswer(generation: state.pointee.namesGeneration, service: number)
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
