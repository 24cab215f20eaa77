// Questions of shards that discovery has no answer to yet, by the names they wait for.

import Policy

/// What waits. The control thread's own. Shards bound how much they ask at once, and every name is found out or given up by
/// its source, so nothing stays here.
final class WaitingQuestions {
  private var questions: [UInt64: NameQuestion] = [:]
  private var waiting: [BoundName: [UInt64]] = [:]
  private var next: UInt64 = 0

  var count: Int { questions.count }

  func add(_ question: NameQuestion, for names: [BoundName]) {
    questions[next] = question
    for name in Set(names) { waiting[name, default: []].append(next) }
    next &+= 1
  }

  /// What waits for any of the names, in the order it came. It waits no more.
  func take(_ names: [BoundName]) -> [NameQuestion] {
    let numbers = names.flatMap { waiting.removeValue(forKey: $0) ?? [] }
    return numbers.sorted().compactMap { questions.removeValue(forKey: $0) }
  }

  /// Everything, in the order it came.
  func takeAll() -> [NameQuestion] {
    waiting = [:]
    defer { questions = [:] }
    return questions.sorted { $0.key < $1.key }.map(\.value)
  }
}
