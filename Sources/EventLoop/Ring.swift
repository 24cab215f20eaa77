// One io_uring instance: set-up, submission, completions. It knows operations, not connections.
//
// A ring is made by anybody and belongs to the thread that enables it (SINGLE_ISSUER); from then on no other thread may call
// anything here.

import CFairlead
import CLiburing
import Glibc

/// A finished operation.
@frozen public struct Completion: Sendable {
  public var tag: OperationTag
  /// The operation's result: a count or a descriptor, or a negated errno value.
  public var result: Int32
  public var flags: UInt32

  @inlinable public init(tag: OperationTag, result: Int32, flags: UInt32) {
    self.tag = tag
    self.result = result
    self.flags = flags
  }

  /// Whether a multishot operation stays armed after this completion (IORING_CQE_F_MORE).
  @inlinable public var hasMore: Bool { flags & 2 != 0 }

  /// The provided buffer that holds the received bytes (IORING_CQE_F_BUFFER).
  @inlinable public var buffer: UInt16? { flags & 1 != 0 ? UInt16(truncatingIfNeeded: flags >> 16) : nil }
}

/// Why a ring could not be had.
public enum RingError: Error, Equatable {
  case setUp(errno: Int32)
  case bufferRing(errno: Int32)
}

/// A handle: copying it does not copy the ring. The owner calls `destroy` once.
public struct Ring {
  let raw: UnsafeMutablePointer<io_uring>
  /// Scratch of `takeCompletions`.
  private let pointers: UnsafeMutablePointer<UnsafeMutablePointer<io_uring_cqe>?>
  private static let peekSize = 64
  /// The set-up flags the kernel accepted.
  public let setUpFlags: UInt32

  /// Sets up a ring with the richest flags the kernel accepts, stepping down on EINVAL. It does nothing before `enable`.
  public init(submissionEntries: UInt32 = 256, completionEntries: UInt32 = 4096) throws(RingError) {
    let raw = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    raw.initialize(to: io_uring())
    var lastError: Int32 = 0
    for flags in Ring.flagChoices {
      var parameters = io_uring_params()
      parameters.flags = flags | IORING_SETUP_R_DISABLED
      parameters.cq_entries = completionEntries
      let result = io_uring_queue_init_params(submissionEntries, raw, &parameters)
      if result == 0 {
        self.raw = raw
        pointers = .allocate(capacity: Ring.peekSize)
        pointers.initialize(repeating: nil, count: Ring.peekSize)
        setUpFlags = flags
        return
      }
      lastError = -result
      if lastError != EINVAL { break }
    }
    raw.deallocate()
    throw .setUp(errno: lastError)
  }

  /// Richest first. DEFER_TASKRUN runs completion work only when the shard asks for it: the largest single win.
  static let flagChoices: [UInt32] = [
    IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
    IORING_SETUP_CQSIZE,
  ]

  /// Makes the calling thread the ring's own: the only one that may submit and reap from now on.
  public func enable() throws(RingError) {
    let result = fl_enable_ring(raw.pointee.ring_fd)
    guard result == 0 else { throw .setUp(errno: result) }
    // Saves a descriptor lookup per enter. The registration is the thread's; a kernel that refuses it works all the same.
    _ = io_uring_register_ring_fd(raw)
  }

  public func destroy() {
    io_uring_queue_exit(raw)
    raw.deallocate()
    pointers.deallocate()
  }

  // MARK: Submission

  /// The next free submission entry; a full queue is handed to the kernel first.
  private func nextEntry() -> UnsafeMutablePointer<io_uring_sqe> {
    while true {
      if let entry = io_uring_get_sqe(raw) { return entry }
      io_uring_submit(raw)
    }
  }

  public func acceptMultishot(_ descriptor: Int32, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_multishot_accept(entry, descriptor, nil, nil, fl_sock_cloexec)
    entry.pointee.user_data = tag.rawValue
  }

  /// Receives into buffers of `group` until cancelled, an error, the peer's end, or no buffer is left.
  public func receiveMultishot(_ descriptor: Int32, group: UInt16, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_recv_multishot(entry, descriptor, nil, 0, 0)
    entry.pointee.flags = UInt8(1 << IOSQE_BUFFER_SELECT_BIT)
    entry.pointee.buf_group = group
    entry.pointee.user_data = tag.rawValue
  }

  /// Receives once into a buffer of `group`.
  public func receive(_ descriptor: Int32, group: UInt16, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_recv(entry, descriptor, nil, 0, 0)
    entry.pointee.flags = UInt8(1 << IOSQE_BUFFER_SELECT_BIT)
    entry.pointee.buf_group = group
    entry.pointee.user_data = tag.rawValue
  }

  /// Sends all of `count` bytes unless the connection breaks. The bytes must stay until the completion.
  public func send(_ descriptor: Int32, _ bytes: UnsafeRawPointer, count: Int, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_send(entry, descriptor, bytes, count, fl_send_flags)
    entry.pointee.user_data = tag.rawValue
  }

  /// Sends all of `message`'s vectors. The header, the vectors and their bytes must stay until the completion.
  public func sendMessage(_ descriptor: Int32, _ message: UnsafePointer<msghdr>, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_sendmsg(entry, descriptor, message, UInt32(fl_send_flags))
    entry.pointee.user_data = tag.rawValue
  }

  /// `address` must stay until the completion.
  public func connect(_ descriptor: Int32, _ address: UnsafePointer<sockaddr>, length: socklen_t, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_connect(entry, descriptor, address, length)
    entry.pointee.user_data = tag.rawValue
  }

  /// Reads eight bytes from an eventfd into `counter`, which must stay until the completion.
  public func readCounter(_ descriptor: Int32, into counter: UnsafeMutablePointer<UInt64>, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_read(entry, descriptor, counter, 8, 0)
    entry.pointee.user_data = tag.rawValue
  }

  /// Cancels the operation whose tag is `target`. Its final completion still comes.
  public func cancel(_ target: OperationTag, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_cancel64(entry, target.rawValue, 0)
    entry.pointee.user_data = tag.rawValue
  }

  /// Cancels everything in flight on `descriptor`. Their final completions still come.
  public func cancelAll(on descriptor: Int32, tag: OperationTag) {
    let entry = nextEntry()
    io_uring_prep_cancel_fd(entry, descriptor, IORING_ASYNC_CANCEL_ALL)
    entry.pointee.user_data = tag.rawValue
  }

  // MARK: Completion

  /// Hands every queued entry to the kernel and waits until a completion is there or `timeoutNanoseconds` have passed
  /// (nil: no limit). One system call.
  public func submitAndWait(timeoutNanoseconds: UInt64?) {
    var first: UnsafeMutablePointer<io_uring_cqe>?
    let result: Int32
    if let timeoutNanoseconds {
      var timeout = __kernel_timespec()
      timeout.tv_sec = Int64(timeoutNanoseconds / 1_000_000_000)
      timeout.tv_nsec = Int64(timeoutNanoseconds % 1_000_000_000)
      result = io_uring_submit_and_wait_timeout(raw, &first, 1, &timeout, nil)
    } else {
      result = io_uring_submit_and_wait(raw, 1)
    }
    // These say that the ring is used wrongly: a bug of ours, and going on would only spin.
    precondition(result != -EINVAL && result != -EBADF && result != -EEXIST, "io_uring_enter refused")
  }

  /// Copies up to `capacity` completions out of the ring, gives their places back to the kernel, and returns how many.
  public func takeCompletions(into batch: UnsafeMutablePointer<Completion>, capacity: Int) -> Int {
    var taken = 0
    while taken < capacity {
      let wanted = min(Ring.peekSize, capacity - taken)
      let count = Int(io_uring_peek_batch_cqe(raw, pointers, UInt32(wanted)))
      if count == 0 { break }
      for index in 0..<count {
        guard let entry = pointers[index] else { continue }
        batch[taken] = Completion(
          tag: OperationTag(rawValue: entry.pointee.user_data), result: entry.pointee.res, flags: entry.pointee.flags)
        taken += 1
      }
      io_uring_cq_advance(raw, UInt32(count))
      if count < wanted { break }
    }
    return taken
  }
}
