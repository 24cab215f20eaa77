// What can be asked of a name server: a host name as RFC 1123 section 2.1 has it, and the underscore that service names
// begin with (RFC 2782, RFC 8552).

/// Rules for the text of host names.
public enum DNSName {
  /// Whether this is a name without a final dot: labels of 1 to 63 letters, digits, `-` and `_`, 253 bytes at most.
  public static func isHostName(_ text: String) -> Bool {
    guard !text.isEmpty, text.utf8.count <= maximumByteCount else { return false }
    return text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
      !label.isEmpty && label.count <= 63 && label.allSatisfy(isLabelByte)
    }
  }

  private static func isLabelByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  /// 255 on the wire, less the length of the first label and the root's.
  public static let maximumByteCount = 253
}
