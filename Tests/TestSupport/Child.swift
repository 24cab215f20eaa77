// Child processes: started with their output in files, ended by their id, and never left behind.
//
// All are started from one thread that lives as long as the test process, through `setpriv --pdeathsig KILL`: when the test
// process dies, for whatever reason, its children die too. (The kernel sends that signal when the *thread* that
// started the child ends, so a thread of a pool would not do.)

import Glibc

/// A running child process.
public final class Child: @unchecked Sendable {
  public let processID: pid_t
  private let outputPath: String
  private let errorPath: String
  private let exit = Monitor<ExitStatus?>(nil)

  /// How a child ended.
  public enum ExitStatus: Sendable, Equatable, CustomStringConvertible {
    case exited(Int32), signalled(Int32)

    public var description: String {
      switch self {
      case .exited(let code): "exit code \(code)"
      case .signalled(let signal): "signal \(signal)"
      }
    }
  }

  /// Starts `arguments[0]`, looked up in PATH, with its output in files in `directory`.
  public init(
    _ arguments: [String], directory: TemporaryDirectory, name: String, environment: [String: String] = [:],
    workingDirectory: String? = nil
  ) throws {
    outputPath = directory.path(name + ".stdout")
    errorPath = directory.path(name + ".stderr")
    processID = try Spawner.shared.spawn(
      ["setpriv", "--pdeathsig", "KILL"] + (workingDirectory.map { ["env", "-C", $0] } ?? []) + arguments,
      environment: environment, output: outputPath, error: errorPath)
    let processID = processID
    let exit = exit
    _ = BackgroundThread {
      var status: Int32 = 0
      while waitpid(processID, &status, 0) < 0, errno == EINTR {}
      let low = status & 0x7f
      exit.with { $0 = low == 0 ? .exited((status >> 8) & 0xff) : .signalled(low) }
    }
  }

  deinit { if isRunning { Glibc.kill(processID, SIGKILL) } }

  public var isRunning: Bool { exit.with { $0 == nil } }
  public var exitStatus: ExitStatus? { exit.with { $0 } }
  public var standardOutput: String { readFile(outputPath) }
  public var standardError: String { readFile(errorPath) }

  /// Sends a signal, only while the process lives.
  public func signal(_ number: Int32) { if isRunning { Glibc.kill(processID, number) } }

  /// Waits for the process to end; nil when it still runs after `seconds`.
  public func wait(seconds: Double = 30) -> ExitStatus? {
    exit.wait(seconds: seconds) { $0 != nil }
    return exitStatus
  }

  /// Asks with SIGTERM, insists with SIGKILL.
  @discardableResult
  public func stop(seconds: Double = 10) -> ExitStatus? {
    signal(SIGTERM)
    if let status = wait(seconds: seconds) { return status }
    signal(SIGKILL)
    return wait(seconds: 5)
  }

  /// Runs a tool to its end.
  public static func run(
    _ arguments: [String], environment: [String: String] = [:], seconds: Double = 60
  ) throws -> (status: ExitStatus, output: String, error: String) {
    let directory = try TemporaryDirectory()
    let child = try Child(arguments, directory: directory, name: "tool", environment: environment)
    guard let status = child.wait(seconds: seconds) else {
      child.stop(seconds: 1)
      throw HarnessError(
        "\(arguments.joined(separator: " ")): still running after \(seconds) s\n\(child.standardError)")
    }
    return (status, child.standardOutput, child.standardError)
  }
}

/// The one thread that starts children.
private final class Spawner: Sendable {
  static let shared = Spawner()

  private struct Request {
    var arguments: [String]
    var environment: [String: String]
    var output: String
    var error: String
  }

  private struct State {
    var pending: Request?
    var result: Result<pid_t, HarnessError>?
    var busy = false
  }

  private let state = Monitor(State())

  private init() {
    // What the test process inherited itself is not for its children.
    for descriptor in Int32(3)..<1024 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    let state = state
    _ = BackgroundThread {
      while true {
        guard state.wait(seconds: 3600, until: { $0.pending != nil }) else { continue }
        guard let request = state.with({ $0.pending }) else { continue }
        let result = Spawner.start(request)
        state.with {
          $0.pending = nil
          $0.result = result
        }
      }
    }
  }

  func spawn(_ arguments: [String], environment: [String: String], output: String, error: String) throws -> pid_t {
    let request = Request(arguments: arguments, environment: environment, output: output, error: error)
    while true {
      let taken = state.with { state -> Bool in
        if state.busy { return false }
        state.busy = true
        state.pending = request
        state.result = nil
        return true
      }
      if taken { break }
      state.wait(seconds: 10) { !$0.busy }
    }
    state.wait(seconds: 10) { $0.result != nil }
    let result = state.with { state -> Result<pid_t, HarnessError>? in
      state.busy = false
      return state.result
    }
    guard let result else { throw HarnessError("\(arguments): could not be started in 10 s") }
    return try result.get()
  }

  private static func start(_ request: Request) -> Result<pid_t, HarnessError> {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, request.output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    posix_spawn_file_actions_addopen(&actions, 2, request.error, O_WRONLY | O_CREAT | O_TRUNC, 0o644)

    // A pool's threads block most signals, and a child would inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    var environment: [String] = []
    var entry = environ
    while let text = entry.pointee {
      let line = String(cString: text)
      if request.environment[String(line.prefix { $0 != "=" })] == nil { environment.append(line) }
      entry += 1
    }
    environment += request.environment.map { "\($0.key)=\($0.value)" }

    let arguments = request.arguments.map { strdup($0) } + [nil]
    let variables = environment.map { strdup($0) } + [nil]
    defer { (arguments + variables).forEach { free($0) } }
    var processID: pid_t = 0
    let failed = posix_spawnp(&processID, request.arguments[0], &actions, &attributes, arguments, variables)
    return failed == 0
      ? .success(processID) : .failure(HarnessError("\(request.arguments[0]): \(String(cString: strerror(failed)))"))
  }
}
