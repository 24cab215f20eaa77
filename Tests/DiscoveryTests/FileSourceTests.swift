// The file source over a real directory: inotify, renames, links, and what cannot be read.

import Base
import Discovery
import EventLoop
import Glibc
import Policy
import TestSupport
import Testing

@Suite("The file source")
final class FileSourceTests {
  private let root: TemporaryDirectory
  private let directory: String
  private let loop: ControlLoop
  private let listener = Listener()
  private var log: [String] = []
  private var source: FileSource?

  init() throws {
    root = try TemporaryDirectory()
    directory = root.path("services")
    mkdir(directory, 0o755)
    loop = try ControlLoop()
  }

  deinit { source?.stop() }

  @discardableResult
  private func start(_ change: (inout FileSettings) -> Void = { _ in }) -> FileSource {
    var settings = FileSettings(prefix: "file", directory: directory)
    change(&settings)
    let source = FileSource(settings, loop: loop) { [unowned self] in log.append($0) }
    source.delegate = listener
    source.start()
    self.source = source
    return source
  }

  private func write(_ name: String, _ text: String) throws { try root.write("services/\(name)", text) }
  private func name(_ name: String) throws -> BoundName { try bound("/#/file/\(name)") }

  private func endpoints(_ service: String) throws -> [String] {
    try #require(source).endpoints(of: try name(service)).map(\.description)
  }

  private func turnUntil(_ service: String, _ expected: [String]) throws -> Bool {
    try loop.turn { try endpoints(service) == expected }
  }

  /// Until the source has looked at whatever happened before this: another file is seen.
  private func settle() throws {
    try write("settled", "10.9.9.9 9\n")
    #expect(try turnUntil("settled", ["10.9.9.9:9"]))
    unlink("\(directory)/settled")
    #expect(try loop.turn { listener.last(try name("settled")) == .vanished })
  }

  // MARK: What is there

  @Test("what is there at the start is known when it has started")
  func whatIsThere() throws {
    try write("web", "127.0.0.1 9001\n127.0.0.1 9002 * 2\n")
    try write("empty", "")
    let source = start()
    #expect(source.lookup(try name("web")) == .service(try name("web")))
    #expect(source.lookup(try name("web/and/more")) == .service(try name("web")))
    #expect(source.lookup(try name("empty")) == .service(try name("empty")))
    #expect(source.lookup(try name("other")) == .negative(until: nil))
    #expect(try endpoints("web") == ["127.0.0.1:9001", "127.0.0.1:9002 * 2.0"])
    #expect(try endpoints("empty") == [])
    let report = source.report()
    #expect(report.services == 2 && report.endpoints == 2 && report.problems.isEmpty && report.origin == directory)
    #expect(report.freshness.state == .fresh)
    #expect(source.freshness(of: try name("web"))?.state == .fresh)
  }

  @Test("a file that is written, changed, renamed and deleted is told of each time")
  func life() throws {
    start()
    let (web, shop) = (try name("web"), try name("shop"))
    try write("web", "127.0.0.1 1\n")
    #expect(try turnUntil("web", ["127.0.0.1:1"]))
    #expect(loop.turn { listener.all(web) == [.appeared] })
    try write("web", "127.0.0.1 2\n")
    #expect(try turnUntil("web", ["127.0.0.1:2"]))
    #expect(loop.turn { listener.all(web) == [.appeared, .endpoints] })
    rename("\(directory)/web", "\(directory)/shop")
    #expect(try turnUntil("shop", ["127.0.0.1:2"]))
    #expect(loop.turn { listener.last(web) == .vanished && listener.all(shop) == [.appeared] })
    #expect(source?.lookup(web) == .negative(until: nil))
    unlink("\(directory)/shop")
    #expect(loop.turn { listener.last(shop) == .vanished })
    #expect(source?.report().services == 0)
  }

  @Test("a file that is renamed over another takes its place without a gap")
  func renameOver() throws {
    try write("web", "127.0.0.1 1\n")
    start()
    for port in 2...20 {
      try write(".web.new", "127.0.0.1 \(port)\n")
      rename("\(directory)/.web.new", "\(directory)/web")
      #expect(try turnUntil("web", ["127.0.0.1:\(port)"]))
    }
    #expect(loop.turn { listener.all((try? name("web")) ?? BoundName(prefix: "x", service: "x")).count == 19 })
    #expect(listener.all(try name("web")).allSatisfy { $0 == .endpoints })
  }

  @Test("whoever writes a long file again and again gets a part of the thread's time only")
  func rest() throws {
    let source = start { $0.endpointLimit = 100_000 }
    func replace(weight: Int) throws {
      try write(".new", (0..<5_000).map { "10.0.\($0 >> 8).\($0 & 0xFF):1*0.\(weight)\n" }.joined())
      rename("\(directory)/.new", "\(directory)/web")
    }
    try replace(weight: 1)
    let before = threadNanoseconds()
    #expect(loop.turn { source.report().updates == 1 })
    let work = threadNanoseconds() - before
    let end = MonotonicInstant.now()
    try replace(weight: 2)
    #expect(loop.turn { source.report().updates == 2 })
    // The work itself, and a rest of four times as long, a second at most. Without the rest it is little more than the work.
    let passed = MonotonicInstant.now().nanoseconds(since: end)
    #expect(passed > min(3 * work, 900_000_000), "\(passed) ns after \(work) ns of work")
  }

  private func threadNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  @Test("a file is read when it is written to the end, not before")
  func halfWritten() throws {
    try write("web", "127.0.0.1 1\n")
    start()
    let old = open("\(directory)/web", O_WRONLY | O_TRUNC)
    let new = open("\(directory)/new", O_WRONLY | O_CREAT, 0o644)
    _ = Glibc.write(old, "127.0.0.1 2", 11)
    _ = Glibc.write(new, "127.0.0.1 3", 11)
    try settle()
    #expect(try endpoints("web") == ["127.0.0.1:1"])
    #expect(source?.lookup(try name("new")) == .negative(until: nil))
    _ = Glibc.write(old, "2\n127.0.0.1 23\n", 15)
    close(old)
    close(new)
    #expect(try turnUntil("web", ["127.0.0.1:22", "127.0.0.1:23"]))
    #expect(try turnUntil("new", ["127.0.0.1:3"]))
    #expect(!listener.news.contains { $0[BoundName(prefix: "file", service: "new")] == .endpoints })
  }

  @Test("a file that is rewritten again and again in its place is never seen empty or cut off")
  func rewritten() throws {
    let whole = (1...200).map { "127.0.0.1 \(40_000 + $0)\n" }.joined()
    try write("web", whole)
    start()
    let path = "\(directory)/web"
    let isDone = Monitor(false)
    let writer = BackgroundThread {
      for _ in 0..<400 {
        let file = open(path, O_WRONLY | O_TRUNC)
        let bytes = Array(whole.utf8)
        // In pieces that end within a line, as buffered writers make them.
        for start in stride(from: 0, to: bytes.count, by: 1000) {
          _ = Glibc.write(file, Array(bytes[start..<min(start + 1000, bytes.count)]), min(1000, bytes.count - start))
        }
        close(file)
        usleep(500)
      }
      isDone.with { $0 = true }
    }
    var seen: Set<Int> = []
    #expect(
      try loop.turn(seconds: 30) {
        seen.insert(try endpoints("web").count)
        return isDone.with { $0 }
      })
    writer.join()
    try settle()
    #expect(try endpoints("web").count == 200)
    // A change of the file's length between two writes would show as another count.
    #expect(seen == [200], "\(seen.sorted())")
  }

  @Test("what is done to many files at once is one piece of news")
  func together() throws {
    start()
    for number in 0..<200 { try write("web-\(number)", "127.0.0.1 \(number + 1)\n") }
    #expect(loop.turn { source?.report().services == 200 })
    #expect(loop.turn { listener.news.reduce(0) { $0 + $1.count } == 200 })
    #expect(listener.news.count <= 20)
  }

  @Test("writing the same again, or in another order, is no news")
  func nothingNew() throws {
    try write("web", "127.0.0.1 1\n127.0.0.1 2\n")
    start()
    try write("web", "# the same\n127.0.0.1:2\n127.0.0.1:1\n")
    try settle()
    #expect(listener.all(try name("web")) == [])
  }

  // MARK: What is wrong

  @Test("a bad line costs itself, and is reported with its place until it is mended")
  func badLines() throws {
    start()
    try write("web", "127.0.0.1 1\nweb.local 80\n127.0.0.1 2\n")
    #expect(try turnUntil("web", ["127.0.0.1:1", "127.0.0.1:2"]))
    let reason = "web:2: 'web.local 80': endpoint files hold IP addresses; a dns discovery looks host names up"
    #expect(source?.report().problems == ["\(directory)/\(reason)"])
    #expect(source?.report().badEntries == 1 && source?.report().freshness.state == .fresh)
    #expect(log == ["discovery /#/file: \(directory)/\(reason)"])
    try write("web", "127.0.0.1 1\n")
    #expect(try turnUntil("web", ["127.0.0.1:1"]))
    #expect(source?.report().problems == [] && source?.report().badEntries == 0)
  }

  @Test("a file in which no line is good leaves the endpoints that were there")
  func useless() throws {
    try write("web", "127.0.0.1 1\n")
    let source = start()
    try write("web", "{ \"endpoints\": [] }\n")
    #expect(try loop.turn { source.freshness(of: try name("web"))?.state == .stale })
    #expect(try endpoints("web") == ["127.0.0.1:1"] && listener.news.isEmpty)
    #expect(source.report().freshness.state == .stale)
    try write("web", "# none on purpose\n")
    #expect(try turnUntil("web", []))
    #expect(source.freshness(of: try name("web"))?.state == .fresh)
  }

  @Test("a file that is too large keeps what it had; one that always was has no endpoints")
  func tooLarge() throws {
    try write("web", "127.0.0.1 1\n")
    let source = start { $0.byteLimit = 100 }
    let long = (1...20).map { "127.0.0.1 \($0)\n" }.joined()
    try write("web", long)
    try write("other", long)
    #expect(try loop.turn { source.freshness(of: try name("web"))?.failure == "it has more than 100 bytes" })
    #expect(try loop.turn { source.lookup(try name("other")) == .service(try name("other")) })
    #expect(try endpoints("web") == ["127.0.0.1:1"] && endpoints("other") == [])
    #expect(source.freshness(of: try name("other"))?.state == .failing)
    try write("other", "127.0.0.1 2\n")
    #expect(try turnUntil("other", ["127.0.0.1:2"]))
  }

  @Test("there are no more services and endpoints than their limits, and always the same ones")
  func limits() throws {
    for name in ["d", "a", "c", "b"] { try write(name, "127.0.0.1 3\n127.0.0.1 1\n127.0.0.1 2\n") }
    let source = start {
      $0.serviceLimit = 2
      $0.endpointLimit = 2
    }
    #expect(source.report().services == 2 && source.report().endpoints == 4)
    #expect(source.lookup(try name("a")) == .service(try name("a")))
    #expect(source.lookup(try name("c")) == .negative(until: nil))
    #expect(try endpoints("b") == ["127.0.0.1:1", "127.0.0.1:3"])
    #expect(source.report().badEntries == 4)
    #expect(source.report().problems.contains("'c' is left out: there are more than 2 files"))
  }

  @Test("what is no file, and what has no name for a service, is passed over")
  func passedOver() throws {
    mkdir("\(directory)/folder", 0o755)
    mkfifo("\(directory)/pipe", 0o644)
    try write("a b", "127.0.0.1 1\n")
    try write(".hidden", "127.0.0.1 1\n")
    try write("web~", "127.0.0.1 1\n")
    symlink("/nowhere/at/all", "\(directory)/dangling")
    symlink("loop", "\(directory)/loop")
    let source = start()
    #expect(source.report().services == 0)
    #expect(
      source.report().problems == [
        "'a?b' is no name of a service", "'folder' is no regular file", "'pipe' is no regular file",
      ])
  }

  // MARK: Links and directories

  @Test("the files of a Kubernetes ConfigMap change together when its link is swapped")
  func configMap() throws {
    func version(_ number: Int) throws {
      let data = "..2024_0\(number)"
      mkdir("\(directory)/\(data)", 0o755)
      try write("\(data)/web", "127.0.0.1 \(number)\n")
      if number != 2 { try write("\(data)/api", "127.0.0.1 \(number)\n") }
      symlink(data, "\(directory)/..data_tmp")
      rename("\(directory)/..data_tmp", "\(directory)/..data")
    }
    try version(1)
    for name in ["web", "api"] { symlink("..data/\(name)", "\(directory)/\(name)") }
    start()
    #expect(try endpoints("web") == ["127.0.0.1:1"] && endpoints("api") == ["127.0.0.1:1"])
    try version(2)
    #expect(try turnUntil("web", ["127.0.0.1:2"]))
    #expect(try loop.turn { listener.last(try name("api")) == .vanished })
    try version(3)
    #expect(try turnUntil("web", ["127.0.0.1:3"]))
    #expect(try turnUntil("api", ["127.0.0.1:3"]))
  }

  @Test("a symbolic link out of the directory is followed, and its target's changes are found in time")
  func outwardLink() throws {
    try root.write("target", "127.0.0.1 1\n")
    start()
    symlink(root.path("target"), "\(directory)/web")
    link(root.path("target"), "\(directory)/hard")
    #expect(try turnUntil("web", ["127.0.0.1:1"]))
    #expect(try turnUntil("hard", ["127.0.0.1:1"]))
    try root.write("target", "127.0.0.1 22\n")
    #expect(try loop.turn(seconds: 20) { try endpoints("web") == ["127.0.0.1:22"] })
  }

  @Test("a directory that is not there has no services, until it comes")
  func missingDirectory() throws {
    rmdir(directory)
    let source = start()
    #expect(source.lookup(try name("web")) == .negative(until: nil))
    #expect(source.report().freshness.state == .failing)
    #expect(source.report().problems == ["\(directory): No such file or directory"])
    mkdir(directory, 0o755)
    try write("web", "127.0.0.1 1\n")
    #expect(try turnUntil("web", ["127.0.0.1:1"]))
    #expect(source.report().freshness.state == .fresh && source.report().problems == [])
  }

  @Test("a directory that goes away leaves what was known, and one that comes back is read")
  func directoryGoes() throws {
    try write("web", "127.0.0.1 1\n")
    try write("api", "127.0.0.1 1\n")
    let source = start()
    rename(directory, root.path("away"))
    #expect(loop.turn { source.report().freshness.state == .stale })
    #expect(try endpoints("web") == ["127.0.0.1:1"] && listener.news.isEmpty)
    #expect(source.lookup(try name("web")) == .service(try name("web")))
    #expect(source.freshness(of: try name("web"))?.state == .stale)
    mkdir(root.path("next"), 0o755)
    try root.write("next/web", "127.0.0.1 2\n")
    rename(root.path("next"), directory)
    #expect(try turnUntil("web", ["127.0.0.1:2"]))
    #expect(try loop.turn { listener.last(try name("api")) == .vanished })
    #expect(source.report().freshness.state == .fresh)
    try write("api", "127.0.0.1 3\n")
    #expect(try turnUntil("api", ["127.0.0.1:3"]))
    #expect(log.count == 2, "\(log)")
  }

  @Test("a link to the directory may lead to another one")
  func linkedDirectory() throws {
    mkdir(root.path("one"), 0o755)
    mkdir(root.path("two"), 0o755)
    try root.write("one/web", "127.0.0.1 1\n")
    try root.write("two/web", "127.0.0.1 2\n")
    rmdir(directory)
    symlink("one", directory)
    start()
    #expect(try endpoints("web") == ["127.0.0.1:1"])
    symlink("two", root.path("link"))
    rename(root.path("link"), directory)
    #expect(try turnUntil("web", ["127.0.0.1:2"]))
    try root.write("two/web", "127.0.0.1 3\n")
    #expect(try turnUntil("web", ["127.0.0.1:3"]))
  }

  @Test("a directory that cannot be read says nothing of names, and keeps what it said before")
  func unreadableDirectory() throws {
    // A link to itself stops root, too.
    try write("web", "127.0.0.1 1\n")
    let source = start()
    rename(directory, root.path("away"))
    symlink("services", directory)
    #expect(loop.turn { source.report().freshness.state == .stale })
    guard case .failed(let reason, _) = source.lookup(try name("other")) else {
      Issue.record("\(source.lookup(try name("other")))")
      return
    }
    #expect(reason == "\(directory): Too many levels of symbolic links")
    #expect(source.lookup(try name("web")) == .service(try name("web")))
  }

  // MARK: Much

  @Test("when the kernel loses events, everything is looked at")
  func overflow() throws {
    let limit = Int(readFile("/proc/sys/fs/inotify/max_queued_events").prefix { $0.isNumber }) ?? 16_384
    try #require(limit <= 100_000, "the queue is too long to be filled in a test")
    try write("web", "127.0.0.1 1\n")
    start()
    for number in 0...(limit / 4) {
      // Four events each: they differ, so the kernel cannot join them.
      let file = open("\(directory)/.x\(number)", O_WRONLY | O_CREAT, 0o644)
      close(file)
      rename("\(directory)/.x\(number)", "\(directory)/.y\(number)")
    }
    try write("web", "127.0.0.1 2\n")
    try write("late", "127.0.0.1 3\n")
    #expect(
      try loop.turn(seconds: 20) { try endpoints("web") == ["127.0.0.1:2"] && endpoints("late") == ["127.0.0.1:3"] })
  }

  @Test("ten thousand endpoints are one file, and one piece of news")
  func manyEndpoints() throws {
    let source = start()
    try write("web", (0..<10_000).map { "10.0.\($0 / 250).\($0 % 250 + 1) 80\n" }.joined())
    #expect(try loop.turn { source.endpoints(of: try name("web")).count == 10_000 })
    #expect(try loop.turn { listener.all(try name("web")) == [.appeared] })
  }

  @Test("nothing is told after the end, and no descriptor stays open")
  func end() throws {
    let before = try descriptorCount()
    start()
    try write("web", "127.0.0.1 1\n")
    loop.turn(maximumWaitMilliseconds: 10)
    source?.stop()
    for _ in 0..<5 { loop.turn(maximumWaitMilliseconds: 10) }
    #expect(listener.news.isEmpty)
    #expect(try descriptorCount() == before)
  }

  private func descriptorCount() throws -> Int {
    let stream = try #require(opendir("/proc/self/fd"))
    defer { closedir(stream) }
    var count = 0
    while let entry = readdir(stream) {
      var target = [CChar](repeating: 0, count: 256)
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      let length = readlink("/proc/self/fd/\(name)", &target, 255)
      let text = String(decoding: target.prefix(max(length, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
      // Other tests run beside this one: only what is this source's counts.
      if text.hasPrefix(directory) { count += 1 }
    }
    return count
  }
}
