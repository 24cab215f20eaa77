// A rule's actions in the form the data path takes them: numbers, bytes that are ready to be written, shares to draw from.

public import Base
public import HTTP

/// The actions of one rule, compiled. Trivial; its memory is the table's.
public struct RoutePlan: BitwiseCopyable {
  struct Choice: BitwiseCopyable {
    /// The sum of the weights up to and with this one.
    let cumulativeWeight: UInt32
    let destination: UInt32
  }

  let choices: UnsafeBufferPointer<Choice>
  let rewrite: PathChange
  /// Nil leaves it to the service's policy.
  public let timeoutNanoseconds: UInt64?
  public let requestEdits: HeadEdits
  public let responseEdits: HeadEdits
  public let mirrorShare: Share
  /// Its place in `RouteTable.destinations`.
  public let mirrorDestination: UInt32
  public let delayShare: Share
  public let delayNanoseconds: UInt64
  public let abortShare: Share
  public let abortStatus: UInt16
  let answer: AnswerPlan?

  init(_ route: Route, in memory: CompiledMemory, place: (Path) -> UInt32) {
    let action = route.action
    var sum: UInt32 = 0
    var choices: [Choice] = []
    for entry in action.destinations where entry.weight > 0 {
      let (next, overflow) = sum.addingReportingOverflow(entry.weight)
      if overflow { break }
      sum = next
      choices.append(Choice(cumulativeWeight: sum, destination: place(entry.name)))
    }
    self.choices = memory.copy(choices)
    rewrite = PathChange(action.pathRewrite, of: route.match.path, in: memory)
    timeoutNanoseconds = action.timeout?.wholeNanoseconds
    var edits = HeadEdits(action.requestHeaders, in: memory)
    if let host = action.hostRewrite { edits.host = memory.copy(host) }
    requestEdits = edits
    responseEdits = HeadEdits(action.responseHeaders, in: memory)
    mirrorShare = Share(action.mirror?.share)
    mirrorDestination = action.mirror.map { place($0.name) } ?? .max
    delayShare = Share(action.delay?.share)
    delayNanoseconds = action.delay?.duration.wholeNanoseconds ?? 0
    abortShare = Share(action.abort?.share)
    abortStatus = action.abort?.status ?? 0
    answer = action.answer.map { AnswerPlan($0, of: route.match.path, in: memory) }
  }

  /// Whether the proxy answers by itself: `RouteTable.writeAnswer`.
  public var answersItself: Bool { answer != nil }

  /// Whether the path becomes another: `RouteTable.writeTarget`.
  public var rewritesPath: Bool { rewrite.kind != .none }

  /// Where the request goes, as a place in `RouteTable.destinations`; nil where its host says. Of several by their weights.
  public func chooseDestination(_ random: inout RandomSource) -> UInt32? {
    guard let last = choices.last else { return nil }
    if choices.count == 1 { return last.destination }
    let draw = random.next(below: last.cumulativeWeight)
    for choice in choices where draw < choice.cumulativeWeight { return choice.destination }
    return last.destination
  }
}

extension HeadEdits {
  /// Compiled once; names and lines are in `memory`.
  init(_ edits: RouteAction.HeaderEdits, in memory: CompiledMemory) {
    let names = (edits.remove + edits.set.map(\.name)).map { memory.copy($0) }
    self.init(
      removed: memory.copy(names), added: memory.copy((edits.set + edits.add).map(\.line).joined()))
  }
}

extension RouteAction.Field {
  var line: String { "\(name): \(value)\r\n" }
}
