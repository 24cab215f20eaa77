// The table of original destinations: found again, bounded, and given away only by withdrawal.

import Base
import TestSupport
import Testing

@testable import Proxy

@Suite("Original destinations")
struct OriginalDestinationsTests {
  private func address(_ number: Int) -> PeerAddress {
    var address = PeerAddress()
    address.low = 0xFFFF_0A00_0000 | UInt64(number)
    address.port = UInt16(truncatingIfNeeded: number &* 7)
    return address
  }

  @Test("an address is found under its slot, at the limit too, and one past it there is none")
  func limit() throws {
    var random = RandomSource(seed: 1)
    let table = OriginalDestinations(capacity: 100, random: &random)
    for number in 0..<100 {
      #expect(table.find(address(number)) == nil)
      let slot = try #require(table.takeFresh())
      table.assign(slot, to: address(number))
    }
    #expect(table.takeFresh() == nil)
    #expect(table.count == 100)
    for number in 0..<100 { #expect(table.find(address(number)) == UInt32(number)) }
    #expect(table.find(address(100)) == nil)
  }

  @Test("a slot that is withdrawn is another address's, and no other address is lost; against a dictionary")
  func model() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = RandomSource(seed: seed)
    let table = OriginalDestinations(capacity: 16, random: &random)
    var model: [UInt32: Int] = [:]
    for _ in 0..<5_000 {
      let number = Int(random.next() % 64)
      if let slot = table.find(address(number)) {
        #expect(model[slot] == number, "seed \(seed)")
        continue
      }
      #expect(!model.values.contains(number), "seed \(seed)")
      let slot: UInt32
      if let fresh = table.takeFresh() {
        slot = fresh
      } else {
        slot = table.nextCandidate()
        table.withdraw(slot)
      }
      table.assign(slot, to: address(number))
      model[slot] = number
    }
    #expect(table.count == 16)
  }

  @Test("a slot stays pinned until everyone who pinned it has let go")
  func pins() throws {
    var random = RandomSource(seed: 2)
    let table = OriginalDestinations(capacity: 4, random: &random)
    let slot = try #require(table.takeFresh())
    table.pin(slot)
    table.pin(slot)
    table.unpin(slot)
    #expect(table.isPinned(slot))
    table.unpin(slot)
    #expect(!table.isPinned(slot))
  }
}
