// Runs the host's own firewall tools. Their input and output go through memory files, so no pipe can fill up; they get no
// shell, no environment that changes their words, and no descriptor but the three.

import CFairlead
import Glibc

/// Runs commands, one after the other, and waits for each.
struct CommandRunner: Sendable {
  /// - Throws: when the program is not there or cannot be started. How it ended is the caller's business.
  func run(_ command: Command) throws(CaptureError) -> CommandResult {
    guard let path = Self.path(of: command.tool) else { throw .missingTool(command.tool) }
    let files = [memoryFile(command.input ?? ""), memoryFile(""), memoryFile("")]
    defer { for file in files where file >= 0 { close(file) } }
    guard files.allSatisfy({ $0 >= 0 }) else { throw .cannotRun(command.tool, reason: words(errno)) }
    let process = try start(path, command, files)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      if errno != EINTR { throw .cannotRun(command.tool, reason: words(errno)) }
    }
    let ended = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    return CommandResult(status: ended, output: content(files[1]), errors: content(files[2]))
  }

  /// Where a program stands: root's directories too, which are not in everybody's PATH. Never where somebody else could have
  /// put it for whoever stands in that directory: entries of PATH that are no full paths do not count.
  static func path(of tool: String) -> String? {
    if tool.hasPrefix("/") { return access(tool, X_OK) == 0 ? tool : nil }
    return directories.map { "\($0)/\(tool)" }.first { access($0, X_OK) == 0 }
  }

  private static var directories: [String] {
    let own = getenv("PATH").map { String(cString: $0) } ?? ""
    return own.split(separator: ":").filter { $0.hasPrefix("/") }.map(String.init)
      + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
  }

  private func start(_ path: String, _ command: Command, _ files: [Int32]) throws(CaptureError) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (number, file) in files.enumerated() { posix_spawn_file_actions_adddup2(&actions, file, Int32(number)) }
    let search = Self.directories.joined(separator: ":")
    let arguments: [UnsafeMutablePointer<CChar>?] = command.arguments.map { strdup($0) } + [nil]
    let environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=\(search)"), strdup("LC_ALL=C"), nil]
    defer { for text in arguments + environment { free(text) } }
    var process: pid_t = 0
    let failed = posix_spawn(&process, path, &actions, nil, arguments, environment)
    guard failed == 0 else { throw .cannotRun(command.tool, reason: words(failed)) }
    return process
  }

  private func memoryFile(_ text: String) -> Int32 {
    let file = fl_memory_file()
    guard file >= 0 else { return -1 }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
      if count <= 0 {
        close(file)
        return -1
      }
      bytes = bytes.dropFirst(count)
    }
    lseek(file, 0, SEEK_SET)
    return file
  }

  private func content(_ file: Int32) -> String {
    lseek(file, 0, SEEK_SET)
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = read(file, &block, block.count)
      if count <= 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += block[..<count]
    }
  }
}

func words(_ code: Int32) -> String { String(cString: strerror(code)) }
