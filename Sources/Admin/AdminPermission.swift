// Who may change something: decided by the peer's credentials, which the kernel tells and nobody can forge.
// Reading is open to everybody whom the socket file's rights let connect.

import CFairlead
import Glibc

/// The process at the other end of a Unix socket, as it was when it connected.
struct PeerCredentials: Equatable {
  var user: uid_t
  var group: gid_t

  /// Nil when the socket is none of a local peer.
  init?(of descriptor: Int32) {
    var (process, user, group): (Int32, UInt32, UInt32) = (0, 0, 0)
    guard fl_peer_credentials(descriptor, &process, &user, &group) == 0 else { return nil }
    self.init(user: user, group: group)
  }

  init(user: uid_t, group: gid_t) {
    self.user = user
    self.group = group
  }
}

/// The rule for changes.
struct ChangePermission {
  /// The user the daemon runs as.
  var daemonUser: uid_t = geteuid()
  /// Members of this group may change things; it need not exist.
  var operatorsGroup: String?

  /// Nil when this peer may change something; else why not, in one sentence.
  func refusal(of peer: PeerCredentials?) -> String? {
    guard let peer else { return "changes are made on the Unix socket; this address is for reading" }
    if peer.user == 0 || peer.user == daemonUser { return nil }
    var allowed = daemonUser == 0 ? ["root"] : ["root", userName(daemonUser)]
    if let operatorsGroup {
      if let operators = lookUpGroup(operatorsGroup), groups(of: peer).contains(operators) { return nil }
      allowed.append("members of the group '\(operatorsGroup)'")
    }
    return "\(userName(peer.user)) may read but not change; changes are for \(allowed.joined(separator: " and "))"
  }

  private func groups(of peer: PeerCredentials) -> [gid_t] {
    guard let name = accountName(peer.user) else { return [peer.group] }
    var count: Int32 = 64
    var groups = [gid_t](repeating: 0, count: Int(count))
    if getgrouplist(name, peer.group, &groups, &count) < 0 {
      // `count` is now what is needed; a user in more groups than that again has changed in between.
      groups = [gid_t](repeating: 0, count: max(1, min(Int(count), 65_536)))
      count = Int32(groups.count)
      if getgrouplist(name, peer.group, &groups, &count) < 0 { return [peer.group] }
    }
    return Array(groups.prefix(Int(max(0, count))))
  }
}

/// The number of a group, or nil when there is no such group.
func lookUpGroup(_ name: String) -> gid_t? {
  var buffer = [CChar](repeating: 0, count: entryBufferBytes)
  var entry = group()
  var found: UnsafeMutablePointer<group>?
  guard getgrnam_r(name, &entry, &buffer, buffer.count, &found) == 0, found != nil else { return nil }
  return entry.gr_gid
}

/// A user's name, or "uid 1234".
func userName(_ user: uid_t) -> String { accountName(user) ?? "uid \(user)" }

private func accountName(_ user: uid_t) -> String? {
  var buffer = [CChar](repeating: 0, count: entryBufferBytes)
  var entry = passwd()
  var found: UnsafeMutablePointer<passwd>?
  // The entry's strings live in the buffer.
  guard getpwuid_r(user, &entry, &buffer, buffer.count, &found) == 0, found != nil, let name = entry.pw_name else {
    return nil
  }
  return String(cString: name)
}

/// A group with thousands of members fits.
private let entryBufferBytes = 256 * 1024
