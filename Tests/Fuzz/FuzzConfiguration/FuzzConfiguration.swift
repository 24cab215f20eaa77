// A libFuzzer target for the configuration loader: whatever the bytes, it answers with a configuration or with
// findings, in bounded time, without a trap. What is taken must also survive being written and read again.

import Configuration
import Glibc

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  test(Array(UnsafeBufferPointer(start: data, count: size)))
  return 0
}

/// One input. `precondition` also stops release builds, and that is what libFuzzer sees.
private func test(_ bytes: [UInt8]) {
  do throws(Diagnostics) {
    let configuration = try Configuration.parse(bytes: bytes, name: "fuzz.yaml", hostName: "fuzz")
    checkThatItReadsBack(configuration)
  } catch {
    let text = error.render()
    precondition(!error.isEmpty, "a configuration was refused without a finding")
    precondition(!text.utf8.contains { $0 < 0x20 && $0 != 0x0A && $0 != 0x09 }, "a control character was printed")
    for item in error.items {
      precondition(item.line == 0 || item.line > 0 && item.column > 0, "a place is outside of the file")
    }
  }
}

private func checkThatItReadsBack(_ configuration: Configuration) {
  let text = configuration.render()
  do throws(Diagnostics) {
    let again = try Configuration.parse(text, name: "again.yaml", hostName: "fuzz")
    precondition(again.render() == text, "a configuration changed by being written and read")
  } catch {
    preconditionFailure("what was taken is refused once it is written: \(error.render())\(text)")
  }
  for entry in configuration.services { _ = configuration.policy(for: entry.name) }
}

/// libFuzzer's loop from our own main: SwiftPM gives an executable's main a name of its own.
@main enum FuzzConfiguration {
  static func main() {
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(runDriver(&count, &arguments, fuzzOneInput))
  }
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ testOneInput: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
