// The 64 bits that travel with an operation.

import EventLoop
import Testing

@Suite("OperationTag")
struct OperationTagTests {
  static let kinds: [OperationKind] = [.receive, .send, .connect, .accept, .cancel, .wakeup]

  @Test("kind, slot and generation come back as they went in", arguments: kinds)
  func roundTrip(kind: OperationKind) {
    for slot in [0, 1, 0x8000_0000, UInt32.max - 1, UInt32.max] {
      for generation in [0, 1, 0xFF, 0x12_3456, 0xFF_FFFF] as [UInt32] {
        let tag = OperationTag(rawValue: OperationTag(kind: kind, slot: slot, generation: generation).rawValue)
        #expect(tag.kind == kind)
        #expect(tag.slot == slot)
        #expect(tag.generation == generation)
      }
    }
  }

  @Test("a generation of more than 24 bits is cut and spoils neither slot nor kind")
  func longGeneration() {
    let tag = OperationTag(kind: .send, slot: 5, generation: 0xABCD_EF01)
    #expect(tag.generation == 0xCD_EF01)
    #expect(tag.slot == 5)
    #expect(tag.kind == .send)
  }

  @Test("user data that no operation of ours has is of no kind", arguments: [0, 7, 200, UInt64.max] as [UInt64])
  func unknownKind(raw: UInt64) {
    #expect(OperationTag(rawValue: raw).kind == nil)
  }

  @Test("a completion tells its buffer and whether more will come, from the flags alone")
  func completionFlags() {
    func completion(_ flags: UInt32) -> Completion {
      Completion(tag: OperationTag(rawValue: 1), result: 0, flags: flags)
    }
    #expect(completion(0).buffer == nil)
    #expect(!completion(0).hasMore)
    #expect(completion(0xFFFF_0001).buffer == 0xFFFF)
    #expect(!completion(0xFFFF_0001).hasMore)
    #expect(completion(0x0005_0003).buffer == 5)
    #expect(completion(0x0005_0003).hasMore)
    #expect(completion(0x0005_0002).buffer == nil)
  }
}
