// The real systemd, booted in namespaces of its own over a copy-on-write view of this host's file system: whatever is
// installed, started, killed and purged in there, the host sees none of it, and one kill ends all of it.

import Glibc

@_silgen_name("setns")
private func setns(_ descriptor: Int32, _ kind: Int32) -> Int32

/// A booted systemd with nothing but a few empty targets. Ended when it is let go.
public final class SystemdContainer: @unchecked Sendable {
  private let directory: TemporaryDirectory
  private let child: Child
  private let group: String
  /// systemd itself, as this host numbers it.
  private let manager: pid_t

  /// Why these tests cannot run here; nil when they can.
  public static let unavailable: String? = {
    if geteuid() != 0 { return "needs root, to make namespaces" }
    for tool in ["unshare", "nsenter", "systemctl", "ip"] where findTool(tool) == nil { return "needs \(tool)" }
    if access("/lib/systemd/systemd", X_OK) != 0 { return "needs systemd (apt-get install systemd)" }
    do {
      let container = try SystemdContainer()
      container.stop()
      return nil
    } catch {
      return "systemd does not boot in namespaces here: \(error)"
    }
  }()

  /// Boots it, and waits until it has.
  public init() throws {
    directory = try TemporaryDirectory()
    group = "fairlead-test-\(getpid())-\(directory.path.suffix(6))"
    let boot = try directory.write("boot", Self.boot)
    try directory.write("stage", Self.stage)
    mkdir(directory.path("box"), 0o755)
    child = try Child(
      ["sh", directory.path("stage"), directory.path, group, boot], directory: directory, name: "systemd")
    let shell = child.processID
    var manager: pid_t?
    let child = child
    eventually(seconds: 10) {
      let children = readFile("/proc/\(shell)/task/\(shell)/children").split(separator: " ").compactMap { pid_t($0) }
      manager = children.first { readFile("/proc/\($0)/comm").hasPrefix("systemd") }
      return manager != nil || !child.isRunning
    }
    guard let manager else {
      child.stop(seconds: 1)
      throw HarnessError("systemd did not start: \(child.standardError)\(child.standardOutput)")
    }
    self.manager = manager
    let booted = try eventually(seconds: 20) { try systemctl("is-system-running").output.hasPrefix("running") }
    guard booted else {
      let state = try systemctl("list-units", "--failed", "--no-pager").output
      stop()
      throw HarnessError("systemd did not boot: \(state)\(child.standardError)")
    }
  }

  deinit { stop() }

  /// Kills everything in it, and removes what it left in the host's cgroups.
  public func stop() {
    guard child.isRunning else { return }
    child.signal(SIGKILL)
    _ = child.wait(seconds: 5)
    _ = try? Child.run(["unshare", "-m", "sh", directory.path("stage"), directory.path, group])
  }

  // MARK: Inside

  /// A path inside, as seen from here.
  public func path(_ inside: String) -> String { "/proc/\(manager)/root\(inside)" }

  /// Runs a tool inside to its end.
  @discardableResult
  public func run(_ arguments: [String], seconds: Double = 60) throws -> (
    status: Child.ExitStatus, output: String, error: String
  ) {
    try Child.run(
      ["nsenter", "-t", "\(manager)", "-m", "-p", "-C", "-n", "-i", "-u", "-r", "-w"]
        + ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"] + arguments,
      seconds: seconds)
  }

  @discardableResult
  public func systemctl(_ arguments: String...) throws -> (status: Child.ExitStatus, output: String, error: String) {
    try run(["systemctl"] + arguments)
  }

  /// A property of a unit, as `systemctl show` tells it.
  public func property(_ name: String, of unit: String) throws -> String {
    try String(systemctl("show", "-P", name, unit).output.prefix { $0 != "\n" })
  }

  /// The process of a unit, as this host numbers it; nil when it has none.
  public func process(of unit: String) throws -> pid_t? {
    guard let inside = try pid_t(property("MainPID", of: unit)), inside > 0 else { return nil }
    let descendants = try Child.run(["pgrep", "--ns", "\(manager)", "--nslist", "pid", "."]).output
    return descendants.split(separator: "\n").compactMap { pid_t($0) }.first { process in
      let line = readFile("/proc/\(process)/status").split(separator: "\n").first { $0.hasPrefix("NSpid:") }
      return line?.split(whereSeparator: { $0 == "\t" || $0 == " " }).last.flatMap { pid_t($0) } == inside
    }
  }

  /// Writes a file inside; its directory must exist.
  public func write(_ inside: String, _ text: String) throws {
    guard let stream = fopen(path(inside), "we") else { throw HarnessError("\(inside): \(lastError())") }
    defer { fclose(stream) }
    guard fputs(text, stream) >= 0 else { throw HarnessError("\(inside): \(lastError())") }
  }

  public func exists(_ inside: String) -> Bool { access(path(inside), F_OK) == 0 }

  /// Runs `body` on a thread in its network: sockets that are made there belong to it for good.
  public func inNetwork<Result>(seconds: Double = 120, _ body: @escaping () throws -> Result) throws -> Result {
    let outcome = Monitor<Swift.Result<Result, any Error>?>(nil)
    nonisolated(unsafe) let body = body
    let thread = enterNetwork { joined in
      let result = Swift.Result { () throws -> Result in
        guard joined else { throw HarnessError("cannot enter the network namespace: \(lastError())") }
        return try body()
      }
      nonisolated(unsafe) let sent = result
      outcome.with { $0 = sent }
    }
    guard thread.join(seconds: seconds), let result = outcome.with({ $0 }) else {
      throw HarnessError("still at it after \(seconds) s")
    }
    return try result.get()
  }

  /// A thread in its network.
  public func enterNetwork(_ body: @escaping @Sendable (_ joined: Bool) -> Void) -> BackgroundThread {
    let manager = manager
    return BackgroundThread {
      let network = open("/proc/\(manager)/ns/net", O_RDONLY | O_CLOEXEC)
      defer { close(network) }
      body(network >= 0 && setns(network, 0) == 0)
    }
  }

  // MARK: The scripts

  /// In a mount namespace: a cgroup of its own, then the other namespaces. Without a third argument: removes that cgroup.
  private static let stage = """
    set -e
    directory=$1 group=$2 boot=${3-}
    if [ -n "$boot" ] && [ -z "${FAIRLEAD_STAGED-}" ]; then
      FAIRLEAD_STAGED=1 exec unshare -m sh "$0" "$@"
    fi
    mount --make-rprivate /
    mkdir -p "$directory/cgroup"
    mount -t cgroup2 cgroup2 "$directory/cgroup"
    if [ -z "$boot" ]; then
      for try in 1 2 3 4 5 6 7 8 9 10; do
        find "$directory/cgroup/$group" -depth -type d -exec rmdir {} + 2>/dev/null && exit 0
        sleep 0.2
      done
      exit 1
    fi
    mkdir "$directory/cgroup/$group"
    echo $$ > "$directory/cgroup/$group/cgroup.procs"
    umount "$directory/cgroup"
    exec unshare -m -p -f -u -i -C -n --kill-child sh "$boot" "$directory/box"
    """

  private static let boot = """
    set -e
    box=$1
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 tmpfs "$box"
    mkdir "$box/upper" "$box/work" "$box/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$box/upper,workdir=$box/work" "$box/root"
    cd "$box/root"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount --rbind /dev dev
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    # Not what this host wants of its services, nor its policy for packages.
    rm -rf etc/systemd/system/*.wants lib/systemd/system/*.target.wants etc/fairlead usr/sbin/policy-rc.d
    mkdir -p run/systemd/system old
    pivot_root . old
    umount -l /old
    rmdir /old
    ip link set lo up
    for target in box sysinit basic network multi-user shutdown; do
      printf '[Unit]\\nDescription=%s\\nDefaultDependencies=no\\n' "$target" > "/run/systemd/system/$target.target"
    done
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=box.target \\
      --log-target=console --show-status=no
    """
}
