// Netlink messages, byte for byte. That the kernel understands them is seen by the integration tests, which ask ipset.

import Base
import Testing

@testable import Capture

@Suite struct NetfilterTests {
  @Test("an entry is added with its time, as ipset itself would send it")
  func add() {
    let messages = IPSet.messages(IPSet.add, .v4)
    #expect(messages.count == 2)
    let expected: [UInt8] =
      // Header: 80 bytes, IPSET_CMD_ADD of subsystem 6, REQUEST | ACK, serial 5; AF_INET.
      [80, 0, 0, 0, 9, 6, 5, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]
      // Protocol 6; the set's name.
      + [5, 0, 1, 0, 6, 0, 0, 0, 20, 0, 2, 0] + Array("fairlead-alive4".utf8) + [0]
      // Data, nested: IP, nested: 128.0.0.0; CIDR 1; timeout 2 in network byte order.
      + [32, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0x40, 128, 0, 0, 0, 5, 0, 3, 0, 1, 0, 0, 0]
      + [8, 0, 6, 0x40, 0, 0, 0, 2]
    #expect(messages[1].bytes(serial: 5) == expected)
    #expect(messages[0].bytes(serial: 5) != expected)
  }

  @Test("IPv6 has addresses of sixteen bytes, deleting has no time")
  func delete() {
    let bytes = IPSet.messages(IPSet.delete, .v6)[0].bytes(serial: 1)
    #expect(bytes.count == Int(bytes[0]) && bytes.count == 84)
    #expect(bytes[16] == 10 && bytes[4] == 10)
  }

  @Test("tables are deleted in a batch that refuses what is not empty")
  func deleteTable() {
    let tables = EmptyTables(.v6, now: SavedTables(parsing: ""), before: [])
    let batch = tables.batch(deleting: "nat")
    #expect(batch.map(\.type) == [0x10, 0x0A02, 0x11])
    #expect(batch[1].flags == 0x105 && batch[1].family == 10)
    #expect(batch[0].bytes(serial: 1) == [20, 0, 0, 0, 0x10, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10])
  }

  @Test("only tables that are new, empty and unchanged are taken away")
  func emptyTables() {
    let saved = SavedTables(
      parsing: """
        *nat
        :OUTPUT ACCEPT [0:0]
        COMMIT
        *mangle
        :OUTPUT DROP [0:0]
        COMMIT
        *raw
        :OUTPUT ACCEPT [0:0]
        -A OUTPUT -j NOTRACK
        COMMIT
        *security
        :OUTPUT ACCEPT [0:0]
        :MINE - [0:0]
        COMMIT
        *filter
        :OUTPUT ACCEPT [0:0]
        COMMIT
        """)
    #expect(EmptyTables(.v4, now: saved, before: ["filter"]).tables.map(\.name) == ["nat"])
  }
}

@Suite struct StateFileTests {
  @Test("what waits for its confirmation comes back from its file")
  func pending() throws {
    let text =
      "@rules-v4\n4140:\tfrom all fwmark 0xfa2 lookup 4140\n@save-v4\n*nat\n:FAIRLEAD_X - [0:0]\nCOMMIT\n@sets\nfairlead-alive4\n"
    let pending = PendingConfirmation(deadline: MonotonicInstant(nanoseconds: 12), before: Survey(parsing: text))
    let back = try #require(PendingConfirmation(parsing: pending.text))
    #expect(back.deadline == pending.deadline)
    #expect(back.before.text == text)
    #expect(back.before.families == [.v4])
    #expect(back.before.state == pending.before.state)
    #expect(back.before.state[.v4].hasSet)
    #expect(back.before.state[.v4].routing == [Routing(mark: 0xFA2, table: 4140)])
    #expect(PendingConfirmation(parsing: "") == nil)
    #expect(PendingConfirmation(parsing: "x\n") == nil)
  }

  @Test("the tables of before come back from their file")
  func before() {
    let survey = Survey(parsing: "@save-v4\n*nat\nCOMMIT\n*filter\nCOMMIT\n@save-v6\n*raw\nCOMMIT\n")
    let text = TablesBefore(survey).text
    #expect(text == "v4 filter\nv4 nat\nv6 raw\n")
    #expect(TablesBefore(parsing: text).names == [.v4: ["filter", "nat"], .v6: ["raw"]])
  }
}
