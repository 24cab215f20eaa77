// How much memory the process may have, from what the kernel's files say.

import Base
import Configuration
import Testing

@testable import Proxy

@Suite("Memory budget")
struct MemoryBudgetTests {
  private func available(_ files: [String: String]) -> UInt64? { MemoryBudget { files[$0] }.available }

  @Test("the least of the groups' limits and the host's memory")
  func least() {
    var files = ["/proc/meminfo": "MemTotal:       4000000 kB\nMemFree: 1 kB\n"]
    #expect(available(files) == 4_096_000_000)
    files["/proc/self/cgroup"] = "1:name=systemd:/x\n0::/system.slice/fairlead.service\n"
    files["/sys/fs/cgroup/system.slice/fairlead.service/memory.max"] = "max\n"
    #expect(available(files) == 4_096_000_000)
    files["/sys/fs/cgroup/system.slice/fairlead.service/memory.high"] = "900\n"
    files["/sys/fs/cgroup/system.slice/memory.max"] = "800\n"
    #expect(available(files) == 800)
    files["/sys/fs/cgroup/system.slice/fairlead.service/memory.max"] = "700\n"
    #expect(available(files) == 700)
  }

  @Test(
    "files that say nothing are no limit",
    arguments: [
      [:], ["/proc/meminfo": ""], ["/proc/meminfo": "MemTotal: much kB\n"],
      ["/proc/meminfo": "MemTotal: 18446744073709551615 kB\n"], ["/proc/self/cgroup": "0::/\n"],
      ["/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/memory.max": "-5\n"],
    ] as [[String: String]])
  func nothing(files: [String: String]) { #expect(available(files) == nil) }

  @Test("pressure is 1 at the mark")
  func pressure() {
    #expect(Configuration.MemoryMark.none.pressure(resident: 1 << 40, available: 1) == 0)
    #expect(Configuration.MemoryMark.size(.mebibytes(1)).pressure(resident: 1 << 20, available: nil) == 1)
    #expect(Configuration.MemoryMark.percent(50).pressure(resident: 1000, available: 1000) == 2)
    #expect(Configuration.MemoryMark.percent(50).pressure(resident: 1000, available: nil) == 0)
    #expect(MemoryBudget { _ in "10 20 30 0" }.resident(pageByteCount: 4096) == 81_920)
    #expect(MemoryBudget { _ in "10 \(UInt64.max)" }.resident(pageByteCount: 4096) == 0)
  }
}
