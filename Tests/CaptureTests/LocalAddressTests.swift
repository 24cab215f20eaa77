// Which addresses are this host's own, as the kernel's routes say.

import Base
import CFairlead
import Testing

@Suite("Local addresses")
struct LocalAddressTests {
  @Test(
    "loopback is this host's, addresses of documentation are nobody's",
    arguments: [
      ("127.0.0.1:80", true), ("127.200.3.4:0", true), ("[::1]:80", true), ("203.0.113.254:80", false),
      ("[2001:db8::1]:80", false), ("unix:/run/x", false),
    ])
  func addresses(_ text: String, _ isLocal: Bool) throws {
    try SocketAddress(parsing: text).withSockaddr { address, length in
      #expect((fl_is_local_address(address, length) != 0) == isLocal)
    }
  }

  @Test("an address that is cut short is nobody's")
  func short() throws {
    try SocketAddress(parsing: "127.0.0.1:80").withSockaddr { address, _ in
      #expect(fl_is_local_address(address, 4) == 0)
    }
  }
}
