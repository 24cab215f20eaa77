// The cases of Tests/Conformance: peers in Python that speak raw frames, for what no polite client would do, and real clients and
// servers of other protocols. Each case has a daemon of its own; here it is a test case, by the sentence it is registered under.

import TestSupport
import Testing

private let needsNode = ConditionTrait.enabled(if: findTool("node") != nil, "needs node")

@Suite("Conformance", needsDaemon)
struct ConformanceTests {
  @Test("conformance", arguments: ConformanceCases.all.filter { !$0.hasPrefix("node:") })
  func conformance(_ sentence: String) throws {
    try ConformanceCases.expectPassed(sentence)
  }

  @Test("conformance", needsNode, arguments: ConformanceCases.all.filter { $0.hasPrefix("node:") })
  func node(_ sentence: String) throws {
    try ConformanceCases.expectPassed(sentence)
  }

  @Test("there are cases for every topic")
  func topics() {
    for topic in [
      "preface", "frames", "streams", "requests", "responses", "smuggling", "floods", "flow", "upstream", "grpc",
      "websocket over HTTP/1", "websocket over HTTP/2", "node", "drain", "health", "connect", "websocket:",
    ] {
      #expect(ConformanceCases.all.contains { $0.hasPrefix(topic) }, "\(topic): none; \(ConformanceCases.problem)")
    }
  }
}

/// The cases, as `run.py` lists them with the Python of the environment that `.ci/conformance` makes. The first that is asked for
/// starts all of them, some at a time: a Python for each would take longer than the cases do.
enum ConformanceCases {
  static let directory = repositoryPath + "/Tests/Conformance"

  private static let made = run([repositoryPath + "/.ci/conformance"], seconds: 300)
  static let python = lines(made.output).last
  private static let listed = python.map { run([$0, directory + "/run.py", "--list"], seconds: 60) }

  /// Never empty: where the cases cannot be listed, the one that stands for them fails.
  static let all: [String] = {
    let sentences = lines(listed?.output ?? "")
    return sentences.isEmpty ? ["the list of cases"] : sentences
  }()

  static var problem: String { made.problem + (listed?.problem ?? "") }

  private struct Outcome {
    var word: Substring
    var text: Substring
  }

  /// What became of each, by its sentence; and what was wrong with the run.
  private static let ran: (outcomes: [String: Outcome], problem: String) = {
    guard let python else { return ([:], problem) }
    let whole = run([python, directory + "/run.py", "--records", "--jobs", "4"], seconds: 600)
    var outcomes: [String: Outcome] = [:]
    for record in whole.output.split(separator: "\u{1E}") {
      let parts = record.split(separator: "\u{1F}", maxSplits: 2, omittingEmptySubsequences: false)
      if parts.count == 3 { outcomes[String(parts[1])] = Outcome(word: parts[0], text: parts[2]) }
    }
    return (outcomes, whole.problem)
  }()

  static func expectPassed(_ sentence: String) throws {
    let outcome = try #require(ran.outcomes[sentence], "no outcome; \(problem)\(ran.problem)")
    #expect(outcome.word == "passed", "\(sentence): \(outcome.text.suffix(6000))")
  }

  private static func lines(_ text: String) -> [String] { text.split(separator: "\n").map(String.init) }

  private static func run(_ arguments: [String], seconds: Double) -> (output: String, problem: String) {
    let environment = ["FAIRLEAD_BIN_DIR": FairleadProcess.binaryDirectory, "PYTHONDONTWRITEBYTECODE": "1"]
    do {
      let run = try Child.run(arguments, environment: environment, seconds: seconds)
      return (run.output, run.status == .exited(0) ? "" : "\(arguments): \(run.status)\n\(run.error.suffix(3000))")
    } catch {
      return ("", "\(error)")
    }
  }
}
