// The start-up probe of what capturing listeners need of the kernel, said plainly before anything is served.

import CFairlead
import Configuration
import Glibc

public enum CaptureProbe {
  /// What is missing for the configuration's capturing listeners and does not keep the node from starting, one line each.
  public static func degraded(_ configuration: Configuration) -> [String] {
    let mark = configuration.capture.mark
    guard mark != 0, configuration.listeners.contains(where: { $0.capture != .none }) else { return [] }
    let descriptor = socket(AF_INET, fl_sock_stream | fl_sock_cloexec, 0)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    let reason = fl_set_mark(descriptor, mark)
    if reason == 0 { return [] }
    // The rules let the proxy's own user through as well, so capture can work; whoever shares that user passes it by.
    return [
      "upstream connections cannot carry capture.mark (\(String(cString: strerror(reason)))): only the exclusion of "
        + "capture.user keeps them from being captured again; give the daemon CAP_NET_ADMIN "
        + "(AmbientCapabilities=CAP_NET_ADMIN in its unit)"
    ]
  }
}
