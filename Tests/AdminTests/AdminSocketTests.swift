// The socket's file: its rights, who may connect and who may change, what it replaces and what it leaves alone.

import Base
import Glibc
import Testing

import class TestSupport.TemporaryDirectory

@testable import Admin

@Suite struct AdminSocketTests {
  @Test("the file has mode 0660, and goes away with the server")
  func file() throws {
    let server = try RunningServer()
    var status = stat()
    #expect(lstat(server.path, &status) == 0)
    #expect(status.st_mode & 0o777 == 0o660)
    server.stop()
    #expect(lstat(server.path, &status) != 0)
  }

  @Test("the umask takes no rights away")
  func maskedFile() throws {
    let directory = try TemporaryDirectory()
    let old = umask(0o177)
    defer { umask(old) }
    let socket = try AdminSocket.listen(path: directory.path + "/s", group: nil)
    defer { socket.remove() }
    var status = stat()
    #expect(lstat(directory.path + "/s", &status) == 0)
    #expect(status.st_mode & 0o777 == 0o660)
  }

  @Test("a socket nobody answers on is replaced")
  func stale() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/s"
    let dead = try AdminSocket.listen(path: path, group: nil)
    close(dead.descriptor)
    let socket = try AdminSocket.listen(path: path, group: nil)
    socket.remove()
    #expect(access(path, F_OK) != 0)
  }

  @Test("a daemon that answers is left alone")
  func running() throws {
    let server = try RunningServer()
    let error = #expect(throws: AdminError.self) { try AdminSocket.listen(path: server.path, group: nil) }
    #expect(error?.description.hasPrefix("another fairleadd is running and answers on \(server.path)") == true)
    let client = try RawClient(server)
    client.send("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(client.receiveAnswer().body == "ready\n")
  }

  @Test("a file that is no socket is left alone")
  func noSocket() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/s"
    close(open(path, O_CREAT | O_WRONLY, 0o600))
    let error = #expect(throws: AdminError.self) { try AdminSocket.listen(path: path, group: nil) }
    #expect(error?.description == "\(path) exists and is no socket; remove it or set admin.socket")
    #expect(access(path, F_OK) == 0)
  }

  @Test("stopping does not remove another daemon's socket")
  func othersFile() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/s"
    let first = try AdminSocket.listen(path: path, group: nil)
    #expect(rename(path, path + ".old") == 0)
    let second = try AdminSocket.listen(path: path, group: nil)
    first.remove()
    #expect(access(path, F_OK) == 0)
    second.remove()
    #expect(access(path, F_OK) != 0)
  }

  @Test("what is wrong with a path is told in one line with the remedy")
  func badPaths() throws {
    let directory = try TemporaryDirectory()
    let missing = directory.path + "/missing/admin.sock"
    let file = directory.path + "/file"
    close(open(file, O_CREAT | O_WRONLY, 0o600))
    let cases = [
      (missing, nil, "its directory does not exist: create it (install -d \(directory.path)/missing)"),
      (file + "/admin.sock", nil, "\(file) is no directory: set admin.socket"),
      ("relative", nil, "needs a full path"), ("/" + String(repeating: "x", count: 120), nil, "needs a full path"),
      (directory.path + "/s", "no-such-group-here", "groupadd --system no-such-group-here"),
    ]
    for (path, group, words) in cases {
      let error = #expect(throws: AdminError.self) { try AdminSocket.listen(path: path, group: group) }
      #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
      #expect(error?.description.contains("\n") == false)
    }
  }

  @Test("a TCP port in use is told with its remedy")
  func portInUse() throws {
    let first = try AdminSocket.listen(address: SocketAddress(parsing: "127.0.0.1:0"))
    defer { first.remove() }
    let error = #expect(throws: AdminError.self) { try AdminSocket.listen(address: first.address) }
    #expect(error?.description.contains("Address already in use; another program listens there") == true)
  }

  @Test("the rule for changes")
  func rule() {
    let rule = ChangePermission(daemonUser: 1234, operatorsGroup: "nogroup")
    #expect(rule.refusal(of: PeerCredentials(user: 0, group: 0)) == nil)
    #expect(rule.refusal(of: PeerCredentials(user: 1234, group: 1)) == nil)
    #expect(rule.refusal(of: PeerCredentials(user: 4321, group: lookUpGroup("nogroup") ?? 1)) == nil)
    #expect(
      rule.refusal(of: PeerCredentials(user: 4321, group: 1))
        == "uid 4321 may read but not change; changes are for root and uid 1234 and members of the group 'nogroup'")
    #expect(rule.refusal(of: nil)?.contains("Unix socket") == true)
    let strict = ChangePermission(daemonUser: 0, operatorsGroup: nil)
    #expect(
      strict.refusal(of: PeerCredentials(user: 4321, group: 1))
        == "uid 4321 may read but not change; changes are for root")
  }

  @Test(
    "another user in the socket's group may read, and change only as an operator",
    .enabled(
      if: geteuid() == 0 && curl != nil && setpriv != nil && lookUpGroup("nogroup") != nil,
      "needs root, curl, setpriv and the group nogroup"))
  func otherUsers() throws {
    let server = try RunningServer(group: "nogroup", operators: "tty")
    chmod(server.directory.path, 0o755)
    let nogroup = try #require(lookUpGroup("nogroup"))
    let tty = try #require(lookUpGroup("tty"))
    func ask(_ user: String, _ options: String, _ path: String) -> (output: String, code: Int32) {
      shell(
        "\(setpriv ?? "") \(user) \(curl ?? "") -sS --max-time 20 \(options) --unix-socket \(server.path) http://f\(path)"
      )
    }
    let reader = "--reuid=65534 --regid=\(nogroup) --clear-groups"
    #expect(ask(reader, "", "/ready").output == "ready\n")
    let refused = ask(reader, "-X POST -w %{http_code}", "/drain").output
    #expect(refused.contains("may read but not change") && refused.hasSuffix("403"))
    #expect(server.node.get(\.drains) == 0)
    // Its effective group makes an operator; the socket's group is a supplementary one.
    let operatorUser = "--reuid=65534 --regid=\(tty) --groups=\(nogroup)"
    #expect(ask(operatorUser, "-X POST", "/drain").output == "draining\n")
    #expect(server.node.get(\.drains) == 1)
    // Without the group there is no connection at all.
    #expect(ask("--reuid=65534 --regid=12345 --clear-groups", "", "/ready").code == 7)
  }

  @Test("a directory where nothing may be made is told with its remedy")
  func noPermission() {
    // Nobody, not even root, makes a socket in sysfs.
    let error = #expect(throws: AdminError.self) { try AdminSocket.listen(path: "/sys/admin.sock", group: nil) }
    #expect(
      error?.description.contains("may not write to /sys: run as root, change its owner, or set admin.socket") == true)
  }
}
