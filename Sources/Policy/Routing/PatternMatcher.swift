// What a match with a pattern needs besides the pattern: memory to work in, and the limits that end it. Made once per shard,
// so that a request allocates nothing for it.

import CPCRE2

/// What came of a match.
public enum PatternOutcome: Equatable, Sendable {
  case matched
  case notMatched
  /// A limit ended it. Taken for no match.
  case limited
}

/// A trivial handle: copies are the same matcher, the owner calls `destroy()` once. One per shard; not thread-safe.
public struct PatternMatcher {
  private let context: OpaquePointer?
  private let data: OpaquePointer?

  /// Limits that no sensible pattern comes near: a match that reaches one has cost about a millisecond.
  public init() {
    context = pcre2_match_context_create_8(nil)
    data = pcre2_match_data_create_8(UInt32(Self.groupLimit + 1), nil)
    guard let context else { return }
    pcre2_set_match_limit_8(context, Self.stepLimit)
    pcre2_set_depth_limit_8(context, Self.depthLimit)
    pcre2_set_heap_limit_8(context, Self.heapKibibytes)
  }

  /// Gives the memory back.
  public func destroy() {
    pcre2_match_data_free_8(data)
    pcre2_match_context_free_8(context)
  }

  /// Matches `subject`. Without machine code the first matches may enlarge the shard's working memory, up to its limit.
  func match(_ code: OpaquePointer, _ subject: UnsafeRawBufferPointer) -> PatternOutcome {
    // A matcher that got no memory matches nothing, and says so as a limit that was hit.
    guard let context, let data else { return .limited }
    let bytes = subject.baseAddress ?? Self.emptySubject
    let result = pcre2_match_8(
      code, bytes.assumingMemoryBound(to: UInt8.self), subject.count, 0, PCRE2_NO_UTF_CHECK, data, context)
    if result >= 0 { return .matched }
    return result == PCRE2_ERROR_NOMATCH ? .notMatched : .limited
  }

  /// Where group `index` of the last match lies in its subject; 0 is the whole match. Nil for a group that took no part.
  func group(_ index: Int, in subject: UnsafeRawBufferPointer) -> Range<Int>? {
    guard let data, index >= 0, index <= Self.groupLimit, let pairs = pcre2_get_ovector_pointer_8(data) else {
      return nil
    }
    // The vector has `groupLimit + 1` pairs, made so above; unset ones hold all ones, which is -1 here.
    let start = pairs[2 * index]
    let end = pairs[2 * index + 1]
    guard start >= 0, start <= end, end <= subject.count else { return nil }
    return start..<end
  }

  /// Groups that a replacement can name: `$1` to `$9`.
  static let groupLimit = 9
  /// PCRE2 wants an address even for nothing.
  private static var emptySubject: UnsafeRawPointer { UnsafeRawPointer(("" as StaticString).utf8Start) }

  /// Steps of one match. PCRE2's own bound is 500 times that, seconds on a data path.
  private static let stepLimit: UInt32 = 20_000
  private static let depthLimit: UInt32 = 8_192
  /// A shard keeps what it once needed, at most this.
  private static let heapKibibytes: UInt32 = 1_024
}
