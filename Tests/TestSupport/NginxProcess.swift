// A real nginx as a backend: a peer that nobody here wrote.

import Glibc

/// One nginx, a master and a worker, with a configuration of its own.
public final class NginxProcess: Sendable {
  public let address: LoopbackAddress
  public let directory: TemporaryDirectory
  private let child: Child

  public static var isInstalled: Bool { findTool("nginx") != nil }

  /// Starts nginx; `locations` goes into its `server` block, and files may be written below `www` first.
  ///
  /// - Parameters:
  ///   - port: where one that has ended was; nil for any.
  ///   - http2: it speaks HTTP/2, and nothing else.
  public init(
    locations: String, port: UInt16? = nil, http2: Bool = false, prepare: (TemporaryDirectory) throws -> Void = { _ in }
  ) throws {
    guard let nginx = findTool("nginx") else { throw HarnessError("nginx is not installed") }
    directory = try TemporaryDirectory()
    try prepare(directory)
    for _ in 0..<10 {
      let address = LoopbackAddress(port: try port ?? probablyFreePort())
      let configuration = try directory.write("nginx.conf", Self.text(address, directory, locations, http2))
      let child = try Child(
        [nginx, "-p", directory.path, "-c", configuration, "-e", directory.path("error.log"), "-g", "daemon off;"],
        directory: directory, name: "nginx")
      let up = eventually(seconds: 10) { !child.isRunning || (try? RawClient(address)) != nil }
      if up, child.isRunning {
        self.address = address
        self.child = child
        return
      }
      child.stop(seconds: 1)
      let log = readFile(directory.path("error.log"))
      guard log.contains("Address already in use") else { throw HarnessError("nginx did not start: \(log)") }
    }
    throw HarnessError("nginx found no free port in ten tries")
  }

  deinit { stop() }

  /// Ends it with SIGTERM, which nginx calls a fast shutdown.
  public func stop() {
    child.signal(SIGTERM)
    _ = child.wait(seconds: 5)
  }

  /// Kills master and worker with SIGKILL, as when the machine runs out of memory.
  public func kill() {
    let children = readFile("/proc/\(child.processID)/task/\(child.processID)/children")
    child.signal(SIGKILL)
    for worker in children.split(separator: " ").compactMap({ pid_t($0) }) { Glibc.kill(worker, SIGKILL) }
    _ = child.wait(seconds: 5)
  }

  private static func text(
    _ address: LoopbackAddress, _ directory: TemporaryDirectory, _ locations: String, _ http2: Bool
  ) -> String {
    """
    worker_processes 1;
    pid nginx.pid;
    error_log error.log warn;
    \(geteuid() == 0 ? "user root;" : "")
    events { worker_connections 4096; }
    http {
      access_log off;
      keepalive_requests 1000000;
      client_body_temp_path \(directory.path)/body;
      proxy_temp_path \(directory.path)/proxy;
      fastcgi_temp_path \(directory.path)/fastcgi;
      uwsgi_temp_path \(directory.path)/uwsgi;
      scgi_temp_path \(directory.path)/scgi;
      client_max_body_size 0;
      server {
        listen \(address) backlog=4096\(http2 ? " http2" : "");
        root \(directory.path);
        \(locations)
      }
    }
    """
  }
}
