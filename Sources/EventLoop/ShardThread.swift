// A named thread, pinned to one CPU when asked, that runs one function to its end.

import CFairlead
import Glibc

/// A running thread. `join` is called once, by the thread that started it.
public struct ShardThread: Sendable {
  let handle: pthread_t

  /// Starts a thread. Signals stay with the control thread: all are blocked here.
  ///
  /// - Parameter cpu: the CPU to pin to; nil leaves the choice to the kernel. A refused pin is not an error: the thread
  ///   then runs wherever the kernel puts it.
  public static func start(name: String, cpu: Int32?, _ body: @escaping @Sendable () -> Void) -> ShardThread? {
    let start = Unmanaged.passRetained(Start(name: name, cpu: cpu, body: body))
    var handle: pthread_t = 0
    let result = pthread_create(
      &handle, nil,
      { argument in
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        fl_block_signals()
        fl_name_current_thread(start.name)
        if let cpu = start.cpu { _ = fl_pin_current_thread(cpu) }
        start.body()
        return nil
      }, start.toOpaque())
    guard result == 0 else {
      start.release()
      return nil
    }
    return ShardThread(handle: handle)
  }

  public func join() { pthread_join(handle, nil) }

  private final class Start {
    let name: String
    let cpu: Int32?
    let body: @Sendable () -> Void

    init(name: String, cpu: Int32?, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.cpu = cpu
      self.body = body
    }
  }
}
