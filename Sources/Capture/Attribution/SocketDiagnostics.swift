// The kernel's answer to "whose is the socket with this address pair?": the messages of NETLINK_SOCK_DIAG, as bytes in
// and values out. Sending and receiving them is `SocketOwners`' business.
//
//   request   nlmsghdr 16 | inet_diag_req_v2 56: family, protocol, extensions, states, inet_diag_sockid 48
//   reply     nlmsghdr 16 | inet_diag_msg 72:    family, state, …, inet_diag_sockid 48, …, uid, inode | attributes
//   refusal   nlmsghdr 16 | nlmsgerr: -errno | the request again
//
//   inet_diag_sockid   port of the socket, port of its peer (network order), address 16, peer's address 16 (an IPv4
//                      address in the first four bytes), interface 4, cookie 8
//
// Everything else is in the host's order (linux/inet_diag.h, linux/sock_diag.h, linux/netlink.h).

public import Base

/// The two ends of a connection as the client's own socket has them. IPv4 addresses are mapped (::ffff:a.b.c.d).
public struct AddressPair: Hashable, Sendable {
  public let client: IPv6Address
  public let clientPort: UInt16
  /// What the client connected to: of a redirected connection the original destination.
  public let destination: IPv6Address
  public let destinationPort: UInt16
  /// The interface's number of a link-local connection, else 0.
  public let interface: UInt32

  public init(
    client: IPv6Address, clientPort: UInt16, destination: IPv6Address, destinationPort: UInt16, interface: UInt32 = 0
  ) {
    self.client = client
    self.clientPort = clientPort
    self.destination = destination
    self.destinationPort = destinationPort
    self.interface = interface
  }
}

/// Whose a socket is.
public struct SocketOwner: Hashable, Sendable {
  /// Nil when no process has the socket any more: older kernels say 0 (root) then.
  public let user: UInt32?
  /// The number of the cgroup (version 2) the socket was made in; nil when the kernel does not say.
  public let cgroup: UInt64?

  public init(user: UInt32?, cgroup: UInt64?) {
    self.user = user
    self.cgroup = cgroup
  }
}

/// What one received message says.
enum DiagnosticReply: Equatable {
  case owner(SocketOwner)
  /// No such socket here: it is another network namespace's, or gone.
  case absent
  /// The kernel refuses to say: an errno value.
  case refused(Int32)
  /// Not the answer to this request: read on.
  case unrelated
  case malformed
}

/// The messages.
enum SocketDiagnostics {
  static let requestByteCount = 72
  /// Room for any reply: the attributes that come unasked take less than a hundred bytes.
  static let replyByteCount = 4096

  /// Writes the request for the client's socket of a pair.
  /// - Parameter target: at least `requestByteCount` bytes.
  static func write(_ pair: AddressPair, sequence: UInt32, into target: UnsafeMutableRawBufferPointer) {
    precondition(target.count >= requestByteCount, "no room for a request")
    target[..<requestByteCount].initializeMemory(as: UInt8.self, repeating: 0)
    let client = IPAddress.v6(pair.client).unmapped
    let destination = IPAddress.v6(pair.destination).unmapped
    target.storeBytes(of: UInt32(requestByteCount), toByteOffset: 0, as: UInt32.self)
    target.storeBytes(of: byFamily, toByteOffset: 4, as: UInt16.self)
    target.storeBytes(of: flagRequest, toByteOffset: 6, as: UInt16.self)
    target.storeBytes(of: sequence, toByteOffset: 8, as: UInt32.self)
    target[17] = tcp
    target.storeBytes(of: UInt32.max, toByteOffset: 20, as: UInt32.self)
    target.storeBytes(of: pair.clientPort.bigEndian, toByteOffset: 24, as: UInt16.self)
    target.storeBytes(of: pair.destinationPort.bigEndian, toByteOffset: 26, as: UInt16.self)
    if case .v4(let client) = client, case .v4(let destination) = destination {
      target[16] = inet
      target.storeBytes(of: client.value.bigEndian, toByteOffset: 28, as: UInt32.self)
      target.storeBytes(of: destination.value.bigEndian, toByteOffset: 44, as: UInt32.self)
    } else {
      target[16] = inet6
      store(pair.client, at: 28, target)
      store(pair.destination, at: 44, target)
    }
    target.storeBytes(of: pair.interface, toByteOffset: 60, as: UInt32.self)
    // "Any cookie".
    target.storeBytes(of: UInt64.max, toByteOffset: 64, as: UInt64.self)
  }

  /// Reads one message, of which nothing is taken for granted.
  static func read(
    _ bytes: UnsafeRawBufferPointer, pair: AddressPair, sequence: UInt32
  ) -> DiagnosticReply {
    guard bytes.count >= headerByteCount else { return .malformed }
    let length = Int(bytes.loadUnaligned(as: UInt32.self))
    guard length >= headerByteCount, length <= bytes.count else { return .malformed }
    guard bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self) == sequence else { return .unrelated }
    switch bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self) {
    case errorType:
      guard length >= headerByteCount + 4 else { return .malformed }
      let code = bytes.loadUnaligned(fromByteOffset: headerByteCount, as: Int32.self)
      // An errno value is negative here; anything else is no refusal.
      guard code < 0, code > -4096 else { return .malformed }
      return -code == noEntry ? .absent : .refused(-code)
    case byFamily:
      guard length >= attributesOffset else { return .malformed }
      return read(socket: UnsafeRawBufferPointer(rebasing: bytes[..<length]), pair)
    default:
      return .unrelated
    }
  }

  /// `bytes` are the whole message, at least up to its attributes.
  private static func read(socket bytes: UnsafeRawBufferPointer, _ pair: AddressPair) -> DiagnosticReply {
    // With no such connection the kernel looks for a listener at the client's address: that is another socket.
    guard liveStates & (1 << UInt32(min(bytes[17], 31))) != 0, names(pair, bytes) else { return .absent }
    let inode = bytes.loadUnaligned(fromByteOffset: 84, as: UInt32.self)
    let user = bytes.loadUnaligned(fromByteOffset: 80, as: UInt32.self)
    var cgroup: UInt64?
    var offset = attributesOffset
    while bytes.count - offset >= 4 {
      let length = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
      let kind = bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self) & 0x3FFF
      guard length >= 4, length <= bytes.count - offset else { return .malformed }
      if kind == cgroupAttribute, length >= 12 {
        cgroup = bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt64.self)
      }
      offset += (length + 3) & ~3
    }
    return .owner(SocketOwner(user: inode == 0 ? nil : user, cgroup: cgroup))
  }

  /// Is the socket of a reply the client's of this pair? A dual-stack socket shows IPv4 addresses mapped.
  private static func names(_ pair: AddressPair, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let clientPort = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 20, as: UInt16.self))
    let destinationPort = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 22, as: UInt16.self))
    guard clientPort == pair.clientPort, destinationPort == pair.destinationPort else { return false }
    return address(at: 24, bytes) == pair.client && address(at: 40, bytes) == pair.destination
  }

  private static func address(at offset: Int, _ bytes: UnsafeRawBufferPointer) -> IPv6Address? {
    switch bytes[16] {
    case inet:
      let value = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      return IPv6Address(mapping: IPv4Address(value: value))
    case inet6:
      return IPv6Address(
        high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)),
        low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)))
    default:
      return nil
    }
  }

  private static func store(_ address: IPv6Address, at offset: Int, _ target: UnsafeMutableRawBufferPointer) {
    target.storeBytes(of: address.high.bigEndian, toByteOffset: offset, as: UInt64.self)
    target.storeBytes(of: address.low.bigEndian, toByteOffset: offset + 8, as: UInt64.self)
  }

  private static let headerByteCount = 16
  private static let attributesOffset = 88
  private static let errorType: UInt16 = 2
  /// SOCK_DIAG_BY_FAMILY.
  private static let byFamily: UInt16 = 20
  private static let flagRequest: UInt16 = 1
  private static let inet: UInt8 = 2
  private static let inet6: UInt8 = 10
  private static let tcp: UInt8 = 6
  /// INET_DIAG_CGROUP_ID, which comes without being asked for (Linux 5.9 and later).
  private static let cgroupAttribute: UInt16 = 21
  private static let noEntry: Int32 = 2
  /// Established, connecting, and half-closed either way. A socket in TIME_WAIT has no owner, a listener is no client.
  private static let liveStates: UInt32 = [1, 2, 4, 5, 8, 9, 11].reduce(0) { $0 | 1 << $1 }
}
