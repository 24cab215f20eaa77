// Threads for what all shards share.

import class TestSupport.BackgroundThread

/// Runs `body` on so many threads at once, and waits for all. It is given the thread's number.
func runThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  let threads = (0..<count).map { index in BackgroundThread { body(index) } }
  for thread in threads { thread.join() }
}
