// The cases of Tests/Conformance: peers that speak raw HTTP/2 frames, in Python, for what no polite client would do. Each case
// runs as a program of its own with a daemon of its own; here it is a test case, by the sentence it is registered under.

import TestSupport
import Testing

@Suite("Conformance", needsDaemon)
struct ConformanceTests {
  @Test("conformance", arguments: ConformanceCases.all)
  func conformance(_ sentence: String) throws {
    let python = try #require(ConformanceCases.python, "\(ConformanceCases.problem)")
    let run = try Child.run(
      [python, ConformanceCases.directory + "/run.py", sentence],
      environment: ["FAIRLEAD_BIN_DIR": FairleadProcess.binaryDirectory, "PYTHONDONTWRITEBYTECODE": "1"], seconds: 180)
    #expect(run.status == .exited(0), "\(run.output.suffix(6000))\(run.error.suffix(3000))")
  }

  @Test("there are cases for every topic")
  func topics() {
    for topic in ["preface", "frames", "streams", "requests", "responses", "smuggling", "floods", "flow", "upstream"] {
      #expect(ConformanceCases.all.contains { $0.hasPrefix(topic) }, "\(topic): none; \(ConformanceCases.problem)")
    }
  }
}

/// The cases, as `run.py` lists them with the Python of the environment that `.ci/conformance` makes.
enum ConformanceCases {
  static let directory = repositoryPath + "/Tests/Conformance"

  private static let made = output([repositoryPath + "/.ci/conformance"], seconds: 300)
  static let python = made.lines.last
  private static let listed = python.map { output([$0, directory + "/run.py", "--list"], seconds: 60) }

  /// Never empty: where the cases cannot be listed, the one that stands for them fails.
  static let all: [String] = {
    guard let lines = listed?.lines, !lines.isEmpty else { return ["the list of cases"] }
    return lines
  }()

  static var problem: String { made.problem + (listed?.problem ?? "") }

  private static func output(_ arguments: [String], seconds: Double) -> (lines: [String], problem: String) {
    do {
      let run = try Child.run(arguments, environment: ["PYTHONDONTWRITEBYTECODE": "1"], seconds: seconds)
      guard run.status == .exited(0) else { return ([], "\(arguments): \(run.status)\n\(run.error)") }
      return (run.output.split(separator: "\n").map(String.init), "")
    } catch {
      return ([], "\(error)")
    }
  }
}
