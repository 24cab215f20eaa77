// c-ares on the control loop: its sockets are watched there, its time-outs are a timer there, and no thread of its own runs.
// It carries questions to name servers, over UDP and, for long answers, TCP; tries them in turn; and brings back bytes. What
// the bytes mean is read elsewhere (DNSMessage).

import Base
import CAres
import CFairlead
import EventLoop
import Glibc

/// A way to some name servers. Lives on the loop's thread.
final class DNSChannel {
  struct Options: Equatable {
    /// Empty for those of resolv.conf.
    var servers: [SocketAddress] = []
    /// Nil for what resolv.conf says.
    var search: [String]?
    var ndots: Int?
    var timeoutMilliseconds: Int32 = 1000
    var tries: Int32 = 2
    /// For sockets that the host's capturing rules must let pass; nil for no mark.
    var mark: UInt32?
  }

  /// An answer as it came, or why there is none.
  enum Reply {
    case message([UInt8])
    case failed(String)
  }

  /// What the options, resolv.conf and the environment say together.
  let search: [String]
  let ndots: Int

  private let loop: ControlLoop
  private let hooks: Hooks
  private let channel: ares_channel
  private var timer: UInt64?
  private var waiting: [Question] = []
  /// The first of `waiting` that has not been put.
  private var nextWaiting = 0
  private var inFlight = 0
  /// Answers that came while c-ares was at work: they are handed out when it has come to rest.
  private var replies: [(reply: Reply, to: (Reply) -> Void)] = []
  private var isClosed = false

  private struct Question {
    let name: String
    let type: DNSType
    let reply: (Reply) -> Void
  }

  /// - Throws: c-ares's reason.
  init(_ options: Options, loop: ControlLoop) throws(TextError) {
    self.loop = loop
    hooks = Hooks(mark: options.mark)
    channel = try Self.makeChannel(options, hooks)
    (search, ndots) = Self.rules(of: channel)
    hooks.channel = self
  }

  deinit { close() }

  /// Ends all questions without an answer.
  func close() {
    if isClosed { return }
    isClosed = true
    timer.map(loop.cancel)
    timer = nil
    waiting = []
    ares_destroy(channel)
    replies = []
  }

  // MARK: Asking

  /// Puts a question, as soon as there are not too many of them. The answer never comes from inside this call.
  func ask(_ name: String, _ type: DNSType, reply: @escaping (Reply) -> Void) {
    waiting.append(Question(name: name, type: type, reply: reply))
    if put() { arm() }
  }

  /// Puts what may be put. False when nothing was.
  private func put() -> Bool {
    let before = nextWaiting
    while nextWaiting < waiting.count, inFlight < Self.maximumInFlight {
      let question = waiting[nextWaiting]
      nextWaiting += 1
      inFlight += 1
      let pending = Unmanaged.passRetained(Pending(hooks, question.reply)).toOpaque()
      ares_query(channel, question.name, fl_ares_class_internet, Int32(question.type.rawValue), queryEnded, pending)
    }
    let hasPut = nextWaiting > before
    if nextWaiting == waiting.count || nextWaiting > 1024 {
      waiting.removeFirst(nextWaiting)
      nextWaiting = 0
    }
    return hasPut
  }

  fileprivate func ended(_ pending: Pending, _ reply: Reply) {
    inFlight -= 1
    replies.append((reply, pending.reply))
  }

  // MARK: Turning

  fileprivate func socketChanged(_ descriptor: Int32, reads: Bool, writes: Bool) {
    let events = Int16(reads ? POLLIN : 0) | Int16(writes ? POLLOUT : 0)
    if events == 0 {
      loop.unwatch(descriptor)
    } else {
      loop.watch(descriptor, events: events) { [weak self] events in self?.ready(descriptor, events) }
    }
  }

  private func ready(_ descriptor: Int32, _ events: Int16) {
    guard !isClosed else { return }
    // An error is read like an answer.
    let reads = events & Int16(POLLIN | POLLERR | POLLHUP | POLLNVAL) != 0
    let writes = events & Int16(POLLOUT) != 0
    ares_process_fd(channel, reads ? descriptor : -1, writes ? descriptor : -1)
    settle()
  }

  private func fired() {
    timer = nil
    guard !isClosed else { return }
    ares_process_fd(channel, -1, -1)
    settle()
  }

  /// Hands the answers out, and goes on with what waits.
  private func settle() {
    while !replies.isEmpty, !isClosed {
      let batch = replies
      replies = []
      for (reply, to) in batch { to(reply) }
      _ = put()
    }
    arm()
  }

  /// Sets the timer for what c-ares waits for; for answers that are there already, at once.
  private func arm() {
    guard !isClosed else { return }
    timer.map(loop.cancel)
    timer = nil
    var wait = timeval()
    if !replies.isEmpty {
      wait = timeval()
    } else if ares_timeout(channel, nil, &wait) == nil {
      return
    }
    let nanoseconds = UInt64(max(wait.tv_sec, 0)) &* 1_000_000_000 &+ UInt64(max(wait.tv_usec, 0)) &* 1000
    timer = loop.schedule(at: MonotonicInstant.now().advanced(byNanoseconds: nanoseconds)) { [weak self] in
      self?.fired()
    }
  }

  // MARK: The hosts file

  /// The addresses that /etc/hosts has for a name. Reads a file, each time.
  func hosts(_ name: String) -> [DNSRecord.Content] {
    var found: [DNSRecord.Content] = []
    for family in [AF_INET, AF_INET6] {
      var entry: UnsafeMutablePointer<hostent>?
      guard ares_gethostbyname_file(channel, name, family, &entry) == fl_ares_success, let entry else { continue }
      defer { ares_free_hostent(entry) }
      guard let list = entry.pointee.h_addr_list else { continue }
      var index = 0
      while found.count < 256, let address = list[index] {
        let bytes = UnsafeRawPointer(address)
        switch (family, entry.pointee.h_length) {
        case (AF_INET, 4):
          found.append(.v4(IPv4Address(value: UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))))
        case (AF_INET6, 16):
          found.append(
            .v6(
              IPv6Address(
                high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))))
        default: break
        }
        index += 1
      }
    }
    return found
  }

  // MARK: Setting up

  private static func makeChannel(_ options: Options, _ hooks: Hooks) throws(TextError) -> ares_channel {
    ares_library_init(fl_ares_library_all)
    var raw = ares_options()
    raw.flags = fl_ares_flags
    raw.ednspsz = datagramBytes
    raw.timeout = options.timeoutMilliseconds
    raw.tries = options.tries
    raw.sock_state_cb = socketStateChanged
    let context = Unmanaged.passUnretained(hooks).toOpaque()
    raw.sock_state_cb_data = context
    var mask = fl_ares_options
    if let ndots = options.ndots {
      raw.ndots = Int32(truncatingIfNeeded: ndots)
      mask |= fl_ares_option_ndots
    }
    var domains: [UnsafeMutablePointer<CChar>?] = (options.search ?? []).map { strdup($0) }
    defer { for domain in domains { free(domain) } }
    if options.search != nil { mask |= fl_ares_option_domains }
    var created: ares_channel?
    let status = domains.withUnsafeMutableBufferPointer { buffer in
      raw.domains = buffer.baseAddress
      raw.ndomains = Int32(truncatingIfNeeded: buffer.count)
      return ares_init_options(&created, &raw, mask)
    }
    guard status == fl_ares_success, let created else { throw TextError(text(status)) }
    ares_set_socket_configure_callback(created, configureSocket, context)
    guard !options.servers.isEmpty else { return created }
    let list = options.servers.map(\.description).joined(separator: ",")
    let taken = ares_set_servers_ports_csv(created, list)
    guard taken == fl_ares_success else {
      ares_destroy(created)
      throw TextError("\(list): \(text(taken))")
    }
    return created
  }

  private static func rules(of channel: ares_channel) -> (search: [String], ndots: Int) {
    var saved = ares_options()
    var mask: Int32 = 0
    guard ares_save_options(channel, &saved, &mask) == fl_ares_success else { return ([], 1) }
    defer { ares_destroy_options(&saved) }
    var search: [String] = []
    if let domains = saved.domains {
      for index in 0..<min(Int(saved.ndomains), 32) {
        if let domain = domains[index] { search.append(String(cString: domain)) }
      }
    }
    return (search, max(Int(saved.ndots), 0))
  }

  fileprivate static func text(_ status: Int32) -> String {
    switch status {
    case fl_ares_timeout: "no name server answered in time"
    case fl_ares_refused: "no name server answers, or all refuse to"
    default: String(cString: ares_strerror(status))
    }
  }

  /// As many as c-ares is given at once; it looks at all of them at each turn.
  private static let maximumInFlight = 128
  /// What fits an IPv6 packet that nobody cuts (the size that the DNS flag day of 2020 agreed on).
  private static let datagramBytes: Int32 = 1232
}

extension DNSSource {
  /// The version of c-ares that is loaded.
  public static var resolverVersion: String { String(cString: ares_version(nil)) }
}

/// What c-ares is given to call back with. It may outlive the channel.
private final class Hooks {
  weak var channel: DNSChannel?
  let mark: UInt32?

  init(mark: UInt32?) { self.mark = mark }
}

/// A question that c-ares has.
private final class Pending {
  let hooks: Hooks
  let reply: (DNSChannel.Reply) -> Void

  init(_ hooks: Hooks, _ reply: @escaping (DNSChannel.Reply) -> Void) {
    self.hooks = hooks
    self.reply = reply
  }
}

/// Called once for every question, sooner or later.
private let queryEnded:
  @convention(c) (UnsafeMutableRawPointer?, Int32, Int32, UnsafeMutablePointer<UInt8>?, Int32) -> Void = {
    context, status, _, bytes, count in
    guard let context else { return }
    let pending = Unmanaged<Pending>.fromOpaque(context).takeRetainedValue()
    guard let channel = pending.hooks.channel else { return }
    if let bytes, count > 0 {
      channel.ended(pending, .message(Array(UnsafeBufferPointer(start: bytes, count: Int(count)))))
    } else {
      channel.ended(pending, .failed(DNSChannel.text(status)))
    }
  }

private let socketStateChanged: @convention(c) (UnsafeMutableRawPointer?, ares_socket_t, Int32, Int32) -> Void = {
  context, descriptor, reads, writes in
  guard let context else { return }
  let hooks = Unmanaged<Hooks>.fromOpaque(context).takeUnretainedValue()
  hooks.channel?.socketChanged(descriptor, reads: reads != 0, writes: writes != 0)
}

/// The first rule of a captured host lets marked packets pass. Without the right to mark, its rules go by the user.
private let configureSocket: @convention(c) (ares_socket_t, Int32, UnsafeMutableRawPointer?) -> Int32 = {
  descriptor, _, context in
  guard let context else { return 0 }
  if let mark = Unmanaged<Hooks>.fromOpaque(context).takeUnretainedValue().mark { _ = fl_set_mark(descriptor, mark) }
  return 0
}
