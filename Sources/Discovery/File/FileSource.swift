// `kind: file`: a directory with a file of endpoint lines for each service.
//
// inotify says where to look, within milliseconds; what is there now is looked up, never guessed from the events. A slow round
// of looking at everything goes beside it, for what inotify does not see: the targets of symbolic links, network file systems,
// a directory that was not there. Where neither can find out, what was known last stays.

import Base
public import EventLoop
import Glibc
public import Policy

/// Services that are files. A name is a service by its first segment, which is the file's name.
public final class FileSource: DiscoverySource {
  public var prefix: String { settings.prefix }
  public weak var delegate: (any DiscoveryDelegate)?

  /// What is known of one file.
  private struct File {
    /// Of what was read; nil for a file that never could be.
    var stamp: FileStamp?
    var endpoints: [Endpoint] = []
    /// When it was read and good.
    var read: MonotonicInstant?
    /// Why what stands in it now is not used; nil when it is.
    var failure: String?
    var badLineCount = 0
    var problems: [String] = []
  }

  private let settings: FileSettings
  private let loop: ControlLoop
  private var log: LogBudget
  private let news: ChangeQueue
  private var watch: DirectoryWatch?
  private var directory: EndpointDirectory?
  private var files: [String: File] = [:]
  /// Names to look at, and whether they are known to be written to the end.
  private var dirty: [String: Bool] = [:]
  private var isAllDirty = false
  /// Names that somebody is writing to, who has not closed them.
  private var writing: Set<String> = []
  /// What is being read, or was last, and whether somebody has written to it since.
  private var reading = (name: "", isWritten: false)
  /// Files that were found empty, and had endpoints before.
  private var emptied: [String: (stamp: FileStamp, since: MonotonicInstant)] = [:]
  private var refreshTimer: UInt64?
  private var restsUntil = MonotonicInstant(nanoseconds: 0)
  private var round: (timer: UInt64, deadline: MonotonicInstant)?
  private var confirmed: MonotonicInstant?
  private var directoryFailure: String?
  private var isMissing = false
  private var watchFailure: String?
  private var skipped = SkippedNames()
  private var updates: UInt64 = 0
  private var errors: UInt64 = 0

  /// - Parameter log: takes lines for the daemon's log, a bounded number of them.
  public init(_ settings: FileSettings, loop: ControlLoop, log: @escaping (String) -> Void) {
    self.settings = settings
    self.loop = loop
    self.log = LogBudget(log)
    news = ChangeQueue(loop)
    news.deliver = { [weak self] changes in
      guard let self else { return }
      let begin = MonotonicInstant.now()
      delegate?.discoveryChanged(self, changes)
      rest(after: begin)
    }
  }

  public func start() {
    refresh(trusting: true)
    // Nobody has asked yet: what is there is no news.
    news.stop()
  }

  public func stop() {
    watch?.stop()
    watch = nil
    directory = nil
    refreshTimer.map(loop.cancel)
    (round?.timer).map(loop.cancel)
    news.stop()
  }

  // MARK: Asking

  public func lookup(_ name: BoundName) -> Lookup {
    let service = name.prefix(segments: 3)
    guard service.prefix == prefix else { return .negative(until: nil) }
    if files[service.name] != nil { return .service(service) }
    // A directory that is not there holds no services; of one that cannot be read nobody knows.
    if let directoryFailure, !isMissing {
      return .failed(reason: directoryFailure, until: MonotonicInstant.now().advanced(byNanoseconds: Self.retryTime))
    }
    return .negative(until: nil)
  }

  public func endpoints(of service: BoundName) -> [Endpoint] { file(service)?.endpoints ?? [] }

  /// Nothing to do: all files are known, used or not.
  public func release(_ service: BoundName) {}

  public func freshness(of service: BoundName) -> Freshness? {
    file(service).map { file in
      if let failure = file.failure { return Freshness(confirmed: file.read, failure: failure) }
      return Freshness(confirmed: confirmed, failure: directoryFailure)
    }
  }

  private func file(_ service: BoundName) -> File? {
    service.prefix == prefix && service.path.segments.count == 3 ? files[service.name] : nil
  }

  public func report() -> SourceReport {
    let failing = files.filter { $0.value.failure != nil }.sorted { $0.key < $1.key }
    let failure =
      directoryFailure
      ?? failing.first.map { name, file in
        let others = failing.count > 1 ? " (and \(failing.count - 1) more)" : ""
        return "\(path(name)): \(file.failure ?? "")\(others)"
      }
    var report = SourceReport(
      kind: "file", prefix: prefix, freshness: Freshness(confirmed: confirmed, failure: failure))
    report.origin = settings.directory
    report.services = files.count
    report.endpoints = files.values.reduce(0) { $0 + $1.endpoints.count }
    report.updates = updates
    report.errors = errors
    report.badEntries = files.values.reduce(skipped.count) { $0 + $1.badLineCount }
    var problems = [directoryFailure, watchFailure].compactMap(\.self) + skipped.lines
    let troubled = files.filter { $0.value.failure != nil || !$0.value.problems.isEmpty }
    for (name, file) in troubled.sorted(by: { $0.key < $1.key }) where problems.count < SourceReport.problemLimit {
      if let failure = file.failure { problems.append("\(path(name)): \(failure)") }
      problems += file.problems
    }
    report.problems = Array(problems.prefix(SourceReport.problemLimit))
    return report
  }

  private func path(_ name: String) -> String { "\(settings.directory)/\(name)" }

  // MARK: Noticing

  private func noticed(_ event: DirectoryWatch.Event) {
    switch event {
    case .everything:
      isAllDirty = true
      writing = []
    case .writing(let name):
      if name == reading.name { reading.isWritten = true }
      if EndpointFileName.isCandidate(name), writing.count < settings.serviceLimit { writing.insert(name) }
      return
    case .settled(let name), .created(let name), .attributes(let name):
      if EndpointFileName.isCandidate(name) {
        // Only a file that could not be read gains by other rights.
        if case .attributes = event, files[name] != nil, files[name]?.failure == nil { return }
        var isSettled = false
        if case .settled = event {
          isSettled = true
          writing.remove(name)
        }
        dirty[name] = (dirty[name] ?? false) || isSettled
      } else if name.hasPrefix("..") || directory?.isSymbolicLink(name) == true {
        // Kubernetes swaps a whole ConfigMap by renaming the link `..data`, which all files lead through.
        isAllDirty = true
      } else {
        return
      }
    }
    // A moment, so that what is done to many files, or to one in several steps, is one piece of work.
    planRefresh(after: Self.gatherTime)
  }

  private func planRefresh(after nanoseconds: UInt64) {
    guard refreshTimer == nil else { return }
    let deadline = max(MonotonicInstant.now().advanced(byNanoseconds: nanoseconds), restsUntil)
    refreshTimer = loop.schedule(at: deadline) { [weak self] in
      guard let self else { return }
      refreshTimer = nil
      let begin = MonotonicInstant.now()
      refresh(trusting: false)
      rest(after: begin)
    }
  }

  /// Whoever writes files without an end gets a fifth of the time: what has been done since `begin` is followed by four times as
  /// long in which changes only gather.
  private func rest(after begin: MonotonicInstant) {
    let now = MonotonicInstant.now()
    let pause = min(now.nanoseconds(since: begin) * 4, Self.longestRest)
    restsUntil = max(restsUntil, now).advanced(byNanoseconds: pause)
  }

  /// - Parameter trusting: files are taken to be written to the end, because nobody could have told.
  private func refresh(trusting: Bool) {
    let names = dirty
    dirty = [:]
    let isNew = directory?.isStill(at: settings.directory) != true
    let isWhole = isAllDirty || isNew
    isAllDirty = false
    if isNew, !open() { return planRound(within: Self.retryTime) }
    if watchFailure != nil { beginWatching() }
    var isUnsettled = false
    if isWhole {
      guard let settled = scan(trusting: trusting || isNew) else { return planRound(within: Self.retryTime) }
      isUnsettled = !settled
    } else {
      for (name, isSettled) in names where !look(at: name, isSettled: isSettled) { isUnsettled = true }
    }
    confirmed = .now()
    planRound(within: isUnsettled || watchFailure != nil ? Self.retryTime : Self.roundTime)
  }

  /// Looks at everything after this time, unless that is planned for an earlier one.
  private func planRound(within nanoseconds: UInt64) {
    let deadline = MonotonicInstant.now().advanced(byNanoseconds: nanoseconds)
    if let round {
      if round.deadline <= deadline { return }
      loop.cancel(round.timer)
    }
    let timer = loop.schedule(at: deadline) { [weak self] in
      guard let self else { return }
      round = nil
      isAllDirty = true
      refresh(trusting: false)
    }
    round = (timer, deadline)
  }

  /// Opens the directory that is there now. False when there is none, or it cannot be read: what is known stays.
  private func open() -> Bool {
    directory = nil
    // Watched before it is opened: nothing happens unseen in between.
    beginWatching()
    do throws(SystemError) {
      directory = try EndpointDirectory(settings.directory)
      return true
    } catch {
      failed(error)
      return false
    }
  }

  private func beginWatching() {
    let slash = settings.directory.lastIndex(of: "/") ?? settings.directory.startIndex
    if watch == nil {
      let name = String(settings.directory[slash...].dropFirst())
      watch = DirectoryWatch(name: name, loop) { [weak self] in self?.noticed($0) }
    }
    guard let watch else { return watchFailure = "inotify: \(text(errno)); looking every second instead" }
    let parent = settings.directory[..<slash]
    watch.watch(parent: parent.isEmpty ? "/" : String(parent))
    let failure = watch.watch(directory: settings.directory)
    // Of a directory that is not there `open` tells.
    watchFailure =
      failure == 0 || failure == ENOENT ? nil : "inotify: \(text(failure)); looking every second instead"
  }

  private func failed(_ error: SystemError) {
    isMissing = error.code == ENOENT || error.code == ENOTDIR
    let failure = "\(settings.directory): \(text(error.code))"
    guard directoryFailure != failure else { return }
    directoryFailure = failure
    errors &+= 1
    log.say("discovery /#/\(prefix): \(failure)\(files.isEmpty ? "" : "; keeping what was there last")")
  }

  // MARK: Looking

  /// Looks at every file. False when one has to be looked at again; nil when the directory cannot be listed.
  private func scan(trusting: Bool) -> Bool? {
    guard let directory else { return nil }
    skipped = SkippedNames()
    var names: Set<String> = []
    do throws(SystemError) {
      let found = try directory.names(limit: settings.serviceLimit * 2 + 1_000) { name in
        if EndpointFileName.isCandidate(name) { return true }
        if !EndpointFileName.isIgnored(name) { skipped.add(name, "is no name of a service") }
        return false
      }
      names = Set(found)
    } catch {
      failed(error)
      return nil
    }
    if directoryFailure != nil {
      directoryFailure = nil
      log.say("discovery /#/\(prefix): \(settings.directory) can be read again")
    }
    var isSettled = true
    for (name, file) in files {
      if !names.contains(name) {
        forget(name)
      } else if case .file(let stamp, _) = directory.entry(name), stamp == file.stamp, file.failure == nil {
        continue
      } else if !look(at: name, isSettled: trusting) {
        isSettled = false
      }
    }
    // In their order, so that where there are too many always the same ones are left out.
    for name in names.filter({ files[$0] == nil }).sorted() where !look(at: name, isSettled: trusting) {
      isSettled = false
    }
    return isSettled
  }

  /// Finds out what a name stands for now. False when it has to be looked at again, because somebody may be writing it.
  private func look(at name: String, isSettled: Bool) -> Bool {
    guard let directory else { return true }
    switch directory.entry(name) {
    case .missing:
      forget(name)
    case .other:
      forget(name)
      skipped.add(name, "is no regular file")
    case .failed(let code):
      keep(name, text(code))
    case .file(let stamp, let linkCount):
      // A link shows a file that was written before.
      let isWritten = isSettled && !writing.contains(name) || linkCount > 1 || directory.isSymbolicLink(name)
      guard isWritten || isAtRest(stamp) else { return false }
      guard files[name] != nil || files.count < settings.serviceLimit else {
        skipped.add(name, "is left out: there are more than \(settings.serviceLimit) files")
        return true
      }
      return read(name, directory)
    }
    return true
  }

  /// Whether nobody has written to it for a while. By the time of day: a clock that jumps makes it wait or hurry once.
  private func isAtRest(_ stamp: FileStamp) -> Bool {
    let now = Int(truncatingIfNeeded: WallClock.nowNanoseconds() / 1_000_000_000)
    return stamp.modified > now || now - stamp.modified >= 2
  }

  /// Reads a file. False when somebody has begun to write to it meanwhile.
  private func read(_ name: String, _ directory: EndpointDirectory) -> Bool {
    do throws(EndpointDirectory.ReadFailure) {
      reading = (name, false)
      let (bytes, stamp) = try directory.read(name, limit: settings.byteLimit)
      watch?.drain()
      if reading.isWritten || isEmptiedJustNow(name, bytes, stamp) { return false }
      take(EndpointFile(bytes, limit: settings.endpointLimit), name, stamp)
    } catch {
      switch error {
      case .missing: forget(name)
      case .tooLarge: keep(name, "it has more than \(settings.byteLimit) bytes")
      case .failed(let code): keep(name, text(code))
      }
    }
    return true
  }

  /// A file that is opened for writing anew is empty first, before inotify tells. Whoever wants it empty leaves it so.
  private func isEmptiedJustNow(_ name: String, _ bytes: [UInt8], _ stamp: FileStamp) -> Bool {
    guard bytes.isEmpty, files[name]?.endpoints.isEmpty == false else {
      emptied[name] = nil
      return false
    }
    let now = MonotonicInstant.now()
    if let known = emptied[name], known.stamp == stamp {
      if now.nanoseconds(since: known.since) >= Self.emptyTime { return false }
    } else {
      emptied[name] = (stamp, now)
    }
    dirty[name] = true
    planRefresh(after: Self.emptyTime)
    return true
  }

  private func take(_ content: EndpointFile, _ name: String, _ stamp: FileStamp) {
    let known = files[name]
    var file = known ?? File()
    file.stamp = stamp
    file.badLineCount = content.badLineCount
    file.problems = content.problems.map { "\(path(name)):\($0.line): \($0.reason)" }
    if content.isUseless, known != nil {
      // Something else has been written over it: what was good last is better than nothing.
      file.failure = "not one of its \(content.badLineCount) lines is an endpoint; keeping what was there last"
    } else {
      file.failure = nil
      file.endpoints = content.endpoints
      file.read = .now()
    }
    files[name] = file
    if file.problems != known?.problems {
      errors &+= file.problems.isEmpty ? 0 : 1
      for line in file.problems { log.say("discovery /#/\(prefix): \(line)") }
      let others = content.badLineCount - content.problems.count
      if others > 0 { log.say("discovery /#/\(prefix): \(path(name)): \(others) more lines are no endpoints") }
    }
    if known == nil {
      tell(name, .appeared)
    } else if known?.endpoints != file.endpoints {
      tell(name, .endpoints)
    }
  }

  /// A file that cannot be read is a service all the same, with the endpoints it had.
  private func keep(_ name: String, _ failure: String) {
    let known = files[name]
    guard known?.failure != failure, known != nil || files.count < settings.serviceLimit else { return }
    files[name, default: File()].failure = failure
    errors &+= 1
    log.say("discovery /#/\(prefix): \(path(name)): \(failure)")
    if known == nil { tell(name, .appeared) }
  }

  private func forget(_ name: String) {
    emptied[name] = nil
    if files.removeValue(forKey: name) != nil { tell(name, .vanished) }
  }

  private func tell(_ name: String, _ change: Change) {
    updates &+= 1
    news.add(BoundName(prefix: prefix, service: name), change)
  }

  private func text(_ code: Int32) -> String { String(cString: strerror(code)) }

  /// From the first event to looking: far below the 100 ms in which a change is to be seen.
  private static let gatherTime: UInt64 = 10_000_000
  private static let longestRest: UInt64 = 1_000_000_000
  /// How long a file must stay empty that was not: longer than a busy host holds up a writer that has just begun.
  private static let emptyTime: UInt64 = 500_000_000
  /// Between two rounds of looking at everything.
  private static let roundTime: UInt64 = 5_000_000_000
  /// The same while something is wrong.
  private static let retryTime: UInt64 = 1_000_000_000
}
