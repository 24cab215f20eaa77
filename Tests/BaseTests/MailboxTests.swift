// The mailbox: order kept for each producer, nothing lost or doubled, wake-ups exactly when the box was empty.

import Base
import Testing

@Suite struct MailboxTests {
  @Test("messages come out oldest first")
  func order() {
    let box = Mailbox<Int>(capacity: 100)
    for number in 0..<10 { _ = box.push(number) }
    var taken: [Int] = []
    #expect(box.drain { taken.append($0) } == 10)
    #expect(taken == Array(0..<10))
    #expect(box.drain { taken.append($0) } == 0)
    #expect(box.isEmpty)
  }

  @Test("only the push into an empty box asks for a wake-up")
  func wakeUps() {
    let box = Mailbox<Int>(capacity: 100)
    #expect(box.push(1) == .wakeReader)
    #expect(box.push(2) == .queued)
    box.drain { _ in }
    #expect(box.push(3) == .wakeReader)
  }

  @Test("a full box refuses, and takes messages again once it was emptied")
  func full() {
    let box = Mailbox<Int>(capacity: 3)
    #expect((0..<5).map { box.push($0) } == [.wakeReader, .queued, .queued, .full, .full])
    #expect(box.drain { _ in } == 3)
    #expect(box.push(9) == .wakeReader)
    #expect(Mailbox<Int>(capacity: 0).push(1) == .full)
  }

  @Test("a message pushed while the box is emptied waits for the next time")
  func pushWhileDraining() {
    let box = Mailbox<Int>(capacity: 10)
    _ = box.push(1)
    var taken: [Int] = []
    let first = box.drain { number in
      taken.append(number)
      let outcome = box.push(number + 1)
      #expect(outcome == .wakeReader)
    }
    #expect(first == 1)
    #expect(box.drain { taken.append($0) } == 1)
    #expect(taken == [1, 2])
  }

  @Test("messages left in a box that goes away are released")
  func release() {
    final class Token: Sendable {}
    weak var watched: Token?
    do {
      let box = Mailbox<Token>(capacity: 10)
      let token = Token()
      watched = token
      _ = box.push(token)
      _ = box.push(token)
    }
    #expect(watched == nil)
  }

  @Test("four producers push, one takes: nothing is lost, doubled or out of order, and no wake-up is missed")
  func threads() async {
    let producers = 4
    let each = 20_000
    let box = Mailbox<Letter>(capacity: 256)
    let wakeUps = await withTaskGroup(of: Int.self) { group in
      for producer in 0..<producers {
        group.addTask { await Self.produce(each, as: producer, into: box) }
      }
      // The consumer's answer counts against the producers': each time the box went from empty to not empty
      // there was one wake-up, and one batch taken.
      group.addTask { await -Self.consume(each, from: producers, outOf: box) }
      return await group.reduce(0, +)
    }
    #expect(wakeUps == 0)
    #expect(box.isEmpty)
  }

  private struct Letter: Sendable {
    var producer: Int
    var number: Int
  }

  /// Returns how often the reader was to be woken.
  private static func produce(_ count: Int, as producer: Int, into box: Mailbox<Letter>) async -> Int {
    var wakeUps = 0
    for number in 0..<count {
      var outcome = box.push(Letter(producer: producer, number: number))
      while outcome == .full {
        await Task.yield()
        outcome = box.push(Letter(producer: producer, number: number))
      }
      if outcome == .wakeReader { wakeUps += 1 }
    }
    return wakeUps
  }

  /// Returns how many batches it took.
  private static func consume(_ each: Int, from producers: Int, outOf box: Mailbox<Letter>) async -> Int {
    var next = [Int](repeating: 0, count: producers)
    var outOfOrder = 0
    var total = 0
    var batches = 0
    while total < producers * each {
      let count = box.drain { letter in
        if letter.number != next[letter.producer] { outOfOrder += 1 }
        next[letter.producer] += 1
      }
      total += count
      if count > 0 { batches += 1 } else { await Task.yield() }
    }
    #expect(outOfOrder == 0)
    #expect(next == [Int](repeating: each, count: producers))
    return batches
  }
}
