// The admin server: listens, keeps its clients within bounds, and hands their requests to the routes.
// It lives on the control thread and never waits: not for a client that reads slowly, not for a shard that does not answer.

import Base
public import EventLoop
import Glibc
import Telemetry

/// What the admin server grants its clients. Everything a client can make grow has a maximum here.
public struct AdminLimits: Sendable {
  /// Connections at a time; one more is answered with 503.
  public var clients = 64
  public var headBytes = 8 * 1024
  public var bodyBytes = 64 * 1024
  /// Of all answers that their clients have not read yet. A report of ten thousand endpoints has three megabytes.
  public var unreadBytes = 64 << 20
  /// How long a connection may idle, take to send a request, or go without taking any of its answer.
  public var timeoutNanoseconds: UInt64 = 10_000_000_000
  /// How long the shards may take to answer.
  public var replyTimeoutNanoseconds: UInt64 = 2_000_000_000

  public init() {}
}

/// The server. All of it belongs to the control thread's loop.
public final class AdminServer: @unchecked Sendable {
  private let loop: ControlLoop
  private let routes: AdminRoutes
  private let limits: AdminLimits
  private let permission: ChangePermission
  private var sockets: [AdminSocket] = []
  private var connections: [Int32: AdminConnection] = [:]
  private var sweepTimer: UInt64?
  private var nextTicket: UInt64 = 0

  /// - Parameter operatorsGroup: the group whose members may change things, besides root and the daemon's own user; nil for
  ///   none.
  public init(
    loop: ControlLoop, node: any NodeAdministration, limits: AdminLimits = AdminLimits(),
    operatorsGroup: String? = "operators"
  ) {
    self.loop = loop
    routes = AdminRoutes(node: node)
    self.limits = limits
    permission = ChangePermission(operatorsGroup: operatorsGroup)
  }

  /// Listens on a Unix socket: mode 0660, the given group (nil leaves the daemon's own). A stale file is replaced.
  public func listen(unixSocket path: String, group: String?) throws(AdminError) {
    accept(from: try AdminSocket.listen(path: path, group: group))
  }

  /// Listens on a TCP address, where everybody may read and nobody may change.
  ///
  /// - Returns: the address really bound.
  @discardableResult
  public func listen(readOnly address: SocketAddress) throws(AdminError) -> SocketAddress {
    let socket = try AdminSocket.listen(address: address)
    accept(from: socket)
    return socket.address
  }

  /// Closes everything and removes the socket's file.
  public func stop() {
    for socket in sockets {
      loop.unwatch(socket.descriptor)
      socket.remove()
    }
    sockets = []
    for connection in connections.values { end(connection) }
  }

  /// Clients connected now.
  public var clientCount: Int { connections.count }

  // MARK: Accepting

  private func accept(from socket: AdminSocket) {
    sockets.append(socket)
    loop.watch(socket.descriptor, events: Int16(POLLIN)) { [unowned self] _ in acceptAll(socket) }
  }

  private func acceptAll(_ socket: AdminSocket) {
    // At most one full house a turn, so that a crowd at the door does not starve those inside.
    for _ in 0..<limits.clients {
      let descriptor = Glibc.accept(socket.descriptor, nil, nil)
      guard descriptor >= 0 else {
        if errno == EINTR || errno == ECONNABORTED { continue }
        if errno != EAGAIN && errno != EWOULDBLOCK { pauseAccepting(socket) }
        return
      }
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
      _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
      guard connections.count < limits.clients else {
        turnAway(descriptor)
        continue
      }
      admit(descriptor, socket)
    }
  }

  /// Out of descriptors or memory: the waiting client stays in the queue, and the loop must not spin over it.
  private func pauseAccepting(_ socket: AdminSocket) {
    loop.setEvents(socket.descriptor, 0)
    loop.schedule(at: .now().advanced(byNanoseconds: 1_000_000_000)) { [weak self] in
      self?.loop.setEvents(socket.descriptor, Int16(POLLIN))
    }
  }

  private func turnAway(_ descriptor: Int32) {
    let response = AdminResponse.text(503, "\(limits.clients) admin clients are connected; try again")
    let bytes = AdminConnection.render(response, isHead: false, keepsAlive: false)
    _ = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    shutdown(descriptor, Int32(SHUT_WR))
    close(descriptor)
  }

  private func admit(_ descriptor: Int32, _ socket: AdminSocket) {
    var credentials: PeerCredentials?
    if case .unix = socket.address { credentials = PeerCredentials(of: descriptor) }
    let connection = AdminConnection(descriptor: descriptor, credentials: credentials, limits: limits)
    connections[descriptor] = connection
    connection.deadline = .now().advanced(byNanoseconds: limits.timeoutNanoseconds)
    loop.watch(descriptor, events: connection.interest) { [unowned self, unowned connection] events in
      connection.handle(events)
      proceed(connection)
    }
    scheduleSweep()
  }

  // MARK: Serving

  /// Takes a connection as far as it can go now.
  private func proceed(_ connection: AdminConnection) {
    while let request = connection.nextRequest() { answer(request, connection) }
    settle(connection)
  }

  private func answer(_ request: AdminRequest, _ connection: AdminConnection) {
    // Tickets are the server's, not the connection's: a reply that comes late must not meet the descriptor's next owner.
    nextTicket &+= 1
    let ticket = nextTicket
    connection.expectReply(ticket: ticket)
    let descriptor = connection.descriptor
    routes.answer(request, refusal: { permission.refusal(of: connection.credentials) }) { [weak self] response in
      guard let self else { return }
      loop.post { [weak self] in
        guard let self, let connection = connections[descriptor], connection.ticket == ticket else {
          response.afterwards?()
          return
        }
        connection.respond(hasRoom(for: response) ? response : Self.tooMuchUnread)
        proceed(connection)
      }
    }
  }

  /// Small answers always have room, and large ones while hardly anything is unread: one that is too long for all others would
  /// never be given otherwise.
  private func hasRoom(for response: AdminResponse) -> Bool {
    guard response.body.count > 64 * 1024 else { return true }
    let unread = connections.values.reduce(0) { $0 + $1.unreadByteCount }
    return unread <= limits.unreadBytes / 8 || unread + response.body.count <= limits.unreadBytes
  }

  private static let tooMuchUnread = AdminResponse.text(
    503, "other admin clients have not read their answers; try again")

  private func settle(_ connection: AdminConnection) {
    if connection.isOver {
      end(connection)
    } else {
      loop.setEvents(connection.descriptor, connection.interest)
    }
  }

  private func end(_ connection: AdminConnection) {
    guard connections.removeValue(forKey: connection.descriptor) != nil else { return }
    loop.unwatch(connection.descriptor)
    connection.close()
  }

  // MARK: Time

  /// While there are clients, their deadlines are looked at a few times in a timeout; no timer turns otherwise.
  private func scheduleSweep() {
    guard sweepTimer == nil, !connections.isEmpty else { return }
    let interval = max(1_000_000, min(limits.timeoutNanoseconds, limits.replyTimeoutNanoseconds) / 8)
    sweepTimer = loop.schedule(at: .now().advanced(byNanoseconds: interval)) { [weak self] in
      guard let self else { return }
      sweepTimer = nil
      let now = MonotonicInstant.now()
      for connection in connections.values where connection.deadline <= now {
        connection.expire()
        proceed(connection)
      }
      scheduleSweep()
    }
  }
}
