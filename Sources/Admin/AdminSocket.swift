// The listening sockets of the admin server: a Unix socket with its file's rights, and a TCP address for reading.
// Everything that can be wrong with a path or a port becomes one line that says what, and what to do.

import Base
import Glibc
import Telemetry

/// A listening socket. Owned by one server; `remove` ends it.
struct AdminSocket {
  let descriptor: Int32
  /// The address really bound.
  let address: SocketAddress
  /// Which file is ours: another daemon's socket at the same path must survive us.
  private var file: (device: dev_t, inode: ino_t)?

  /// Listens on a Unix socket. The file gets mode 0660 and, if one is named, the group; it replaces a socket on which nobody
  /// answers, and nothing else.
  static func listen(path: String, group: String?) throws(AdminError) -> AdminSocket {
    guard path.utf8.count <= SocketAddress.longestPath, path.utf8.first == 0x2F, !path.utf8.contains(0) else {
      throw AdminError(
        "the admin socket needs a full path of at most \(SocketAddress.longestPath) bytes, not '\(path)'; set admin.socket"
      )
    }
    let groupIdentifier = try group.map { name throws(AdminError) in
      guard let identifier = lookUpGroup(name) else {
        throw AdminError(
          "the group '\(name)' of the admin socket does not exist; create it (groupadd --system \(name)) or set admin.group"
        )
      }
      return identifier
    }
    let descriptor = try open(AF_UNIX)
    do throws(AdminError) {
      // Before bind, the mode of a socket is the mode its file will have: there is no moment with wider rights.
      fchmod(descriptor, 0o660)
      try withDirectoryLocked(path) { () throws(AdminError) in
        try bind(descriptor, path: path)
      }
      var status = stat()
      guard lstat(path, &status) == 0 else { throw failure("watch over", path, errno) }
      // The umask may have taken the group's rights away.
      chmod(path, 0o660)
      if let groupIdentifier, chown(path, uid_t.max, groupIdentifier) != 0 {
        let code = errno
        unlink(path)
        throw AdminError(
          "cannot give the admin socket \(path) to the group '\(group ?? "")': \(reason(code)); "
            + "run as root or as a member of that group, or set admin.group")
      }
      guard Glibc.listen(descriptor, backlog) == 0 else { throw failure("listen on", path, errno) }
      return AdminSocket(
        descriptor: descriptor, address: .unix(path: path), file: (status.st_dev, status.st_ino))
    } catch {
      close(descriptor)
      throw error
    }
  }

  /// Listens on a TCP address.
  static func listen(address: SocketAddress) throws(AdminError) -> AdminSocket {
    let family: Int32
    switch address {
    case .v4: family = AF_INET
    case .v6: family = AF_INET6
    case .unix(let path): return try listen(path: path, group: nil)
    }
    let descriptor = try open(family)
    var one: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    let bound = address.withSockaddr { Glibc.bind(descriptor, $0, $1) }
    guard bound == 0, Glibc.listen(descriptor, backlog) == 0 else {
      let code = errno
      close(descriptor)
      let hint =
        switch code {
        case EADDRINUSE: "; another program listens there (ss -ltnp shows which): stop it or set admin.http"
        case EADDRNOTAVAIL: "; this host has no such address: set admin.http"
        case EACCES: "; ports below 1024 need CAP_NET_BIND_SERVICE: set admin.http"
        default: ""
        }
      throw AdminError("cannot listen on \(address) for metrics: \(reason(code))\(hint)")
    }
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let named = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    let real = named == 0 ? SocketAddress(storage, length: length) : nil
    return AdminSocket(descriptor: descriptor, address: real ?? address, file: nil)
  }

  /// Closes the socket and removes its file, if it still is ours.
  func remove() {
    if case .unix(let path) = address, let file {
      var status = stat()
      if lstat(path, &status) == 0, status.st_dev == file.device, status.st_ino == file.inode { unlink(path) }
    }
    close(descriptor)
  }

  // MARK: Steps

  private static func open(_ family: Int32) throws(AdminError) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = socket(family, type, 0)
    guard descriptor >= 0 else { throw AdminError("cannot make the admin socket: \(reason(errno))") }
    return descriptor
  }

  private static func bind(_ descriptor: Int32, path: String) throws(AdminError) {
    let address = SocketAddress.unix(path: path)
    if address.withSockaddr({ Glibc.bind(descriptor, $0, $1) }) == 0 { return }
    guard errno == EADDRINUSE else { throw failure("create", path, errno) }
    try removeStale(path)
    guard address.withSockaddr({ Glibc.bind(descriptor, $0, $1) }) == 0 else { throw failure("create", path, errno) }
  }

  /// Removes a socket on which nobody listens.
  private static func removeStale(_ path: String) throws(AdminError) {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else {
      throw AdminError("\(path) exists and is no socket; remove it or set admin.socket")
    }
    let probe = try open(AF_UNIX)
    defer { close(probe) }
    let connected = SocketAddress.unix(path: path).withSockaddr { connect(probe, $0, $1) }
    guard connected != 0, errno == ECONNREFUSED else {
      let code = connected == 0 ? 0 : errno
      switch code {
      case 0, EAGAIN, EINPROGRESS:
        throw AdminError(
          "another fairleadd is running and answers on \(path); stop it (fairlead drain) or choose another --admin-socket"
        )
      case EPROTOTYPE: throw AdminError("\(path) belongs to another program; remove it or set admin.socket")
      default: throw failure("replace", path, code)
      }
    }
    guard unlink(path) == 0 else { throw failure("replace", path, errno) }
  }

  /// Two daemons that start at once must not each take the other's fresh socket for a stale one: the directory's lock lets
  /// one at a time look and bind. Where the directory cannot be opened, the bind itself will say so.
  private static func withDirectoryLocked(_ path: String, _ body: () throws(AdminError) -> Void) throws(AdminError) {
    let lock = Glibc.open(directory(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    defer { if lock >= 0 { close(lock) } }
    if lock >= 0 { flock(lock, LOCK_EX) }
    try body()
  }

  private static func failure(_ verb: String, _ path: String, _ code: Int32) -> AdminError {
    let directory = directory(of: path)
    let hint =
      switch code {
      case ENOENT: "; its directory does not exist: create it (install -d \(directory)) or set admin.socket"
      case EACCES, EPERM, EROFS:
        "; \(userName(geteuid())) may not write to \(directory): run as root, change its owner, or set admin.socket"
      case ENOTDIR: "; \(directory) is no directory: set admin.socket"
      default: ""
      }
    return AdminError("cannot \(verb) the admin socket \(path): \(reason(code))\(hint)")
  }

  private static func directory(of path: String) -> String {
    let parent = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    return parent.isEmpty ? "/" : parent
  }

  private static func reason(_ code: Int32) -> String { SystemError(code: code).reason }
}

/// Short: more than this many waiting admin clients are a mistake.
private let backlog: Int32 = 64
