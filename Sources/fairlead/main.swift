// `fairlead`: looks at and steers the daemon of this host. What it can do stands in AdminClient; checking a configuration
// file needs no daemon and is done here.

import AdminClient
import Configuration
import Glibc

/// As `fairleadd --validate FILE`: the file, and the fragments in `conf.d` beside it.
@Sendable func validate(_ file: String, _ console: Console) -> Int32 {
  do throws(Diagnostics) {
    let configuration = try Configuration.load(path: file, fragments: fragments(beside: file))
    let listeners = counted(configuration.listeners.count, "listener")
    let services = counted(configuration.discovery.reduce(0) { $0 + $1.staticServices.count }, "service")
    console.output("\(file): ok (\(listeners), \(services))\n")
    return ExitCode.success
  } catch {
    console.errors(error.render())
    return ExitCode.configuration
  }
}

@Sendable func fragments(beside file: String) -> String {
  (file.lastIndex(of: "/").map { String(file[...$0]) } ?? "") + "conf.d"
}

@Sendable func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

/// The running configuration is what the daemon prints: it reads back as what it was.
@Sendable func compare(
  _ running: [UInt8], _ file: String
) -> Result<[AdminClient.ConfigurationChange], ConfigurationTools.RefusedFile> {
  do throws(Diagnostics) {
    let old = try Configuration.parse(bytes: running, name: "the running configuration")
    let new = try Configuration.load(path: file, fragments: fragments(beside: file))
    return .success(old.changes(to: new).map { .init(path: $0.path, old: $0.old, new: $0.new) })
  } catch {
    return .failure(.init(findings: error.render()))
  }
}

let tools = ConfigurationTools(prepareCapture: prepareCapture, validate: validate, compare: compare) { forManual in
  forManual ? Configuration.manual() : Configuration.jsonSchema()
}
let tool = CommandLineTool(console: .standard(), configuration: tools)
exit(tool.run(Array(CommandLine.arguments.dropFirst())))
