// Where CONNECT may lead: how entries are read, and what they contain.

import Base
import Policy
import Testing

@Suite("ConnectDestination")
struct ConnectDestinationTests {
  private func contains(_ entry: String, _ host: String, _ port: UInt16) throws -> Bool {
    let destination = try ConnectDestination(parsing: entry)
    return Array(host.utf8).withUnsafeBytes { destination.contains(ConnectTarget(host: $0, port: port)) }
  }

  @Test(
    "an entry contains what it says, and nothing else",
    arguments: [
      ("10.0.0.0/8:443", "10.1.2.3", 443, true), ("10.0.0.0/8:443", "10.1.2.3", 444, false),
      ("10.0.0.0/8:443", "11.1.2.3", 443, false), ("10.0.0.1:1-9", "10.0.0.1", 9, true),
      ("10.0.0.1:1-9", "10.0.0.1", 10, false), ("10.0.0.1:*", "10.0.0.1", 65535, true),
      ("10.0.0.1:*", "10.0.0.2", 1, false),
      // The same address, however it is written; what is no plain address is a name.
      ("10.0.0.0/8:443", "::ffff:10.0.0.1", 443, true), ("0.0.0.0/0:*", "127.1", 80, false),
      ("0.0.0.0/0:*", "0x7f000001", 80, false), ("0.0.0.0/0:*", "010.0.0.1", 80, false),
      ("0.0.0.0/0:*", "2130706433", 80, false), ("[::/0]:*", "10.0.0.1", 80, false),
      ("[::/0]:*", "::ffff:10.0.0.1", 80, false), ("[fd00::/8]:443", "fd00::1", 443, true),
      ("[fd00::/8]:443", "fe00::1", 443, false), ("[::1]:443", "::1", 443, true), ("[::1]:443", "0:0::1", 443, true),
      ("db.example:5432", "db.example", 5432, true), ("DB.example:5432", "Db.Example", 5432, true),
      ("db.example:5432", "db.example.", 5432, true), ("db.example:5432", "db.example..", 5432, false),
      ("db.example:5432", "xdb.example", 5432, false), ("db.example:5432", "db.example", 5433, false),
      ("*.svc:*", "a.svc", 1, true), ("*.svc:*", "a.b.SVC", 1, true), ("*.svc:*", "svc", 1, false),
      ("*.svc:*", ".svc", 1, false), ("*.svc:*", "a.svc.evil", 1, false), ("*.svc:*", "asvc", 1, false),
      ("*:443", "anything", 443, true), ("*:443", "10.0.0.1", 443, false), ("*:443", "::1", 443, false),
      ("*:443", "anything", 80, false),
    ] as [(String, String, UInt16, Bool)])
  func matching(_ entry: String, _ host: String, _ port: UInt16, _ expected: Bool) throws {
    #expect(try contains(entry, host, port) == expected)
  }

  @Test(
    "an entry is written as it is read",
    arguments: [
      "10.0.0.0/8:443", "10.0.0.1:*", "[fd00::/8]:1-9", "[::1]:443", "db.example:5432", "*.svc:*", "*:443",
      "0.0.0.0/0:*",
    ])
  func description(_ text: String) throws {
    #expect(try ConnectDestination(parsing: text).description == text)
  }

  @Test(
    "what is no entry is refused",
    arguments: [
      "", ":", "db.example", "db.example:", ":443", "db.example:0", "db.example:65536", "db.example:9-1",
      "db.example:x",
      "10.0.0.1/8:443", "10.0.0.0/33:443", "[10.0.0.0/8]:443", "fd00::/8:443", "[::1]", "[::1:443", "*.:443", "a.*.b:1",
      "**:443", "a b:443", "http://a:443", "a/b:443", "[::ffff:10.0.0.0/104]:443", "user@db:443",
    ])
  func mistakes(_ text: String) {
    #expect(throws: TextError.self) { () throws in _ = try ConnectDestination(parsing: text) }
  }
}
