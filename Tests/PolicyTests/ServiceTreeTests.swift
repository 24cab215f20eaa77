// Trees as requests walk them: shares, and who serves when somebody is empty.

import Base
import Policy
import Testing

/// A tree whose services are numbered by their names: `/#/x/7` is 7.
private final class Tree {
  let tree: ServiceTree

  init(_ right: String) throws {
    let text = "/svc => " + right.map { $0 == "@" ? "/#/x/" : String($0) }.joined()
    let parser = DelegationParser(Array(text.unicodeScalars), maximumEntryCount: 1)
    try #require(parser.flaws == [])
    let table = Delegation(entries: parser.entries.map(\.value))
    let binding = table.bind(try Path(parsing: "/svc")) { .service($0, segmentCount: 3) }
    guard case .bound(let bound) = binding else {
      throw TestFailure()
    }
    tree = try ServiceTree(bound) { try #require(UInt32($0.path.segments[2])) }
  }

  deinit { tree.destroy() }

  func pick(_ random: inout RandomSource, empty: Set<UInt32> = []) -> ServiceTree.Pick {
    tree.pick(&random) { empty.contains($0) }
  }

  struct TestFailure: Error {}
}

@Suite struct ServiceTreeTests {
  @Test(
    "an empty service is passed by where the table says so, and only there",
    arguments: [
      ("@1", [], .service(1)), ("@1", [1], .empty(1)), ("@1 |! @2", [], .service(1)), ("@1 |! @2", [1], .service(2)),
      ("@1 |! @2", [1, 2], .empty(2)), ("@1 | @2", [1], .empty(1)), ("@1 |! @2 |! @3", [1, 2], .service(3)),
      ("@1 |! !", [1], .failure), ("@1 |! !", [], .service(1)), ("@1 |! $", [1], .empty(1)), ("$", [], .empty(.max)),
      ("(@1 & @1) |! @2", [1], .service(2)), ("(@1 & @1) | @2", [1], .empty(1)),
      ("(@1 |! @2) & (@1 |! @2)", [1], .service(2)), ("((@1 |! @2) & (@1 |! @2)) |! @3", [1, 2], .service(3)),
      ("((@1 |! @2) & (@1 |! @2)) |! @3", [1, 2, 3], .empty(3)), ("! & !", [], .failure),
      ("(@1 & @1) |! (@2 & @2) |! @3", [1, 2], .service(3)),
    ] as [(String, Set<UInt32>, ServiceTree.Pick)])
  func fallbacks(right: String, empty: Set<UInt32>, expected: ServiceTree.Pick) throws {
    let tree = try Tree(right)
    var random = RandomSource(seed: 7)
    for _ in 0..<50 { #expect(tree.pick(&random, empty: empty) == expected) }
  }

  @Test(
    "requests part by weight",
    arguments: [
      ("@1 & @2", [1: 0.5, 2: 0.5]), ("0.95 * @1 & 0.05 * @2", [1: 0.95, 2: 0.05]),
      ("1 * @1 & 2 * @2 & 3 * @3 & 4 * @4", [1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4]),
      ("0.000001 * @1 & 1000000 * @2", [2: 1]), ("(@1 & @2) & 2 * @3", [1: 1 / 6.0, 2: 1 / 6.0, 3: 2 / 3.0]),
      ("3 * (@1 & 3 * @2) & (@3 |! @4)", [1: 0.1875, 2: 0.5625, 3: 0.25]),
    ] as [(String, [UInt32: Double])])
  func shares(right: String, expected: [UInt32: Double]) throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("ServiceTreeTests.shares seed \(seed)")
    var random = RandomSource(seed: seed)
    let tree = try Tree(right)
    let draws = 100_000
    var counts: [UInt32: Int] = [:]
    for _ in 0..<draws {
      guard case .service(let number) = tree.pick(&random) else {
        Issue.record("nothing was empty, seed \(seed)")
        return
      }
      counts[number, default: 0] += 1
    }
    for number in Set(expected.keys).union(counts.keys) {
      let share = expected[number] ?? 0
      // Six standard deviations of a binomial: one run in 500 million is outside by chance, for each number.
      let bound = 6 * (share * (1 - share) * Double(draws)).squareRoot() + 1
      let difference = Double(counts[number] ?? 0) - share * Double(draws)
      #expect(abs(difference) <= bound, "\(number) of \(right) had \(counts[number] ?? 0), seed \(seed)")
    }
  }

  @Test("a share whose service is empty goes to its own stand-in, and the others stay as they are")
  func emptyShare() throws {
    let tree = try Tree("0.75 * @1 & 0.25 * (@2 |! @3)")
    var random = RandomSource(seed: 11)
    var counts: [UInt32: Int] = [:]
    for _ in 0..<40_000 {
      if case .service(let number) = tree.pick(&random, empty: [2]) { counts[number, default: 0] += 1 }
    }
    #expect(abs((counts[1] ?? 0) - 30_000) < 600 && counts[2] == nil && abs((counts[3] ?? 0) - 10_000) < 600)
  }

  @Test("any tree ends, with a service that is not empty or the truth about it")
  func anyTree() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("ServiceTreeTests.anyTree seed \(seed)")
    var random = RandomSource(seed: seed)
    func text(_ depth: Int) -> String {
      switch random.next(below: depth > 5 ? 1 : 3) {
      case 0: return "@\(random.next(below: 9))"
      case 1: return "(" + (0...random.next(below: 3)).map { _ in text(depth + 1) }.joined(separator: " |! ") + ")"
      default: return "(" + (0...random.next(below: 3)).map { _ in text(depth + 1) }.joined(separator: " & ") + ")"
      }
    }
    for _ in 0..<300 {
      var right = text(0)
      while right.count(where: { $0 == "@" }) > DelegationParser.maximumNameCount { right = text(0) }
      let tree = try Tree(right)
      for _ in 0..<20 {
        let empty = Set((0..<9 as Range<UInt32>).filter { _ in random.next(below: 2) == 0 })
        switch tree.pick(&random, empty: empty) {
        case .service(let number): #expect(!empty.contains(number), "seed \(seed)")
        case .empty(let number): #expect(empty.contains(number), "seed \(seed)")
        case .failure: Issue.record("nothing fails in \(right), seed \(seed)")
        }
      }
    }
  }
}
