// Users by name or number, as configurations write them. Reads the user database: for the control thread.

import Glibc

/// The host's users.
public enum UserNames {
  /// The number of a user. A name of digits alone is a number, whether or not it is a user's.
  /// - Returns: nil when there is no such user.
  public static func number(of user: String) -> UInt32? {
    if !user.isEmpty, user.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
      // The last number means "nobody at all" to the kernel.
      return UInt32(user).flatMap { $0 == .max ? nil : $0 }
    }
    var entry = passwd()
    var result: UnsafeMutablePointer<passwd>?
    var buffer = [CChar](repeating: 0, count: 1024)
    while true {
      switch getpwnam_r(user, &entry, &buffer, buffer.count, &result) {
      case 0: return result == nil ? nil : entry.pw_uid
      case ERANGE where buffer.count < 1 << 20: buffer = [CChar](repeating: 0, count: buffer.count * 4)
      case EINTR: continue
      default: return nil
      }
    }
  }
}
