import Base
import Policy
import TestSupport
import Testing

@testable import Discovery

@Suite("Endpoint files")
struct EndpointFileTests {
  private func read(_ text: String, limit: Int = 100) -> EndpointFile { EndpointFile(Array(text.utf8), limit: limit) }

  @Test(
    "an endpoint is written in each of the usual ways",
    arguments: [
      ("127.0.0.1 80", "127.0.0.1:80"),
      ("127.0.0.1\t80", "127.0.0.1:80"),
      ("  127.0.0.1   80  ", "127.0.0.1:80"),
      ("127.0.0.1:80", "127.0.0.1:80"),
      ("127.0.0.1 80 * 2", "127.0.0.1:80 * 2.0"),
      ("127.0.0.1 80 * 0.5 # a comment", "127.0.0.1:80 * 0.5"),
      ("127.0.0.1:80*3", "127.0.0.1:80 * 3.0"),
      ("::1 80", "[::1]:80"),
      ("[::1] 80", "[::1]:80"),
      ("[::1]:80 * 4", "[::1]:80 * 4.0"),
      ("[fe80::1%2]:80", "[fe80::1%2]:80"),
      ("unix:/run/web.sock", "unix:/run/web.sock"),
      ("unix:/run/web.sock * 2 @ b", "unix:/run/web.sock * 2.0 @ b"),
      ("127.0.0.1 80 @ zone-a", "127.0.0.1:80 @ zone-a"),
      ("127.0.0.1 80 * 2 @ zone-a # near", "127.0.0.1:80 * 2.0 @ zone-a"),
      ("127.0.0.1 80\r", "127.0.0.1:80"),
    ])
  func goodLines(_ line: String, _ expected: String) {
    let file = read(line + "\n")
    #expect(file.endpoints.map(\.description) == [expected] && file.badLineCount == 0, "\(file.problems)")
  }

  @Test("the short way through usual lines and the general one agree on every line near a usual one")
  func shortWay() {
    let usual = ["10.1.0.5 9001", "255.255.255.255:65535", " 1.2.3.4\t80 ", "127.0.0.1:8"]
    let pieces = Array("0123456789.: \t\r-x[".utf8)
    var random = RandomSource(seed: 23)
    func draw(_ count: Int) -> Int { Int(random.next(below: UInt32(count))) }
    for number in 0..<20_000 {
      var line = Array(usual[number % usual.count].utf8)
      for _ in 0..<draw(4) {
        let place = draw(line.count + 1)
        switch draw(3) {
        case 0: line.insert(pieces[draw(pieces.count)], at: place)
        case 1 where place < line.count: line.remove(at: place)
        default: if place < line.count { line[place] = pieces[draw(pieces.count)] }
        }
      }
      let text = String(decoding: line, as: UTF8.self)
      // A weight leads the general way.
      let (short, general) = (read(text), read(text + " * 1"))
      #expect(short.endpoints == general.endpoints && short.badLineCount == general.badLineCount, "'\(text)'")
    }
  }

  @Test("empty lines and comments are no lines", arguments: ["", "\n\n", "# nothing\n", "  \t\r\n#\n"])
  func noLines(_ text: String) {
    let file = read(text)
    #expect(file.endpoints.isEmpty && file.badLineCount == 0 && !file.isUseless)
  }

  @Test(
    "a bad line says what is wrong with it",
    arguments: [
      ("web.local 80", "'web.local 80': endpoint files hold IP addresses; a dns discovery looks host names up"),
      ("web.local:80", "'web.local:80': endpoint files hold IP addresses; a dns discovery looks host names up"),
      ("127.0.0.1", "'127.0.0.1': the port is missing; write address:port"),
      ("127.0.0.1 http", "'127.0.0.1 http': the port must be a number between 0 and 65535, not 'http'"),
      ("127.0.0.1 0", "'127.0.0.1 0': port 0 is no port to connect to"),
      ("127.0.0.1 65536", "'127.0.0.1 65536': the port must be a number between 0 and 65535, not '65536'"),
      ("0.0.0.0 80", "'0.0.0.0 80': it is no address to connect to; write the host's own"),
      ("1.2.3.400 80", "'1.2.3.400 80': '1.2.3.400' is not an IPv4 address"),
      ("127.0.0.1 80 * heavy", "'127.0.0.1 80': the weight after '*' must be a number such as 2 or 0.5, not 'heavy'"),
      ("127.0.0.1 80 *", "'127.0.0.1 80': the weight after '*' must be a number such as 2 or 0.5, not ''"),
      ("127.0.0.1 80 * 0", "'127.0.0.1 80': the weight must be between 0.001 and 1000, not 0"),
      ("127.0.0.1 80 * 2 0", "'127.0.0.1 80': the weight after '*' must be a number such as 2 or 0.5, not '2 0'"),
      ("127.0.0.1 80 @ a b", "'127.0.0.1 80': a zone's name has at most 63 letters, digits and any of -._, not 'a b'"),
      ("127.0.0.1 80 90", "write one endpoint a line: an address, its port, and perhaps '* weight' and '@ zone'"),
      ("* 2", "write one endpoint a line: an address, its port, and perhaps '* weight' and '@ zone'"),
      (String(repeating: "1", count: 600), "a line has at most 512 bytes"),
      ("\u{1B}[31m:80", "'?[31m:80': write 1.2.3.4:80, [::1]:80, :80 or unix:/path"),
    ])
  func badLines(_ line: String, _ reason: String) {
    let file = read("10.0.0.1 80\n\(line)\n10.0.0.2 80\n")
    #expect(file.problems == [EndpointFile.Problem(line: 2, reason: reason)])
    #expect(file.endpoints.map(\.description) == ["10.0.0.1:80", "10.0.0.2:80"])
  }

  @Test("an address that is there twice counts once, with the weight it had first")
  func duplicates() {
    let file = read("10.0.0.1 80 * 2\n10.0.0.1:80\n")
    #expect(file.endpoints.map(\.description) == ["10.0.0.1:80 * 2.0"])
    #expect(file.problems.map(\.reason) == ["10.0.0.1:80 is there twice; it is first written in line 1"])
  }

  @Test("what is over the limit is left out and counted, the first problems are kept")
  func limits() {
    let text = (0..<50).map { "10.0.0.\($0) 80" }.joined(separator: "\n")
    let file = read(text, limit: 20)
    #expect(file.endpoints.count == 20 && file.badLineCount == 30)
    #expect(file.problems.count == EndpointFile.problemLimit)
    #expect(file.problems.first == EndpointFile.Problem(line: 21, reason: "there are more than 20 endpoints"))
  }

  @Test("a file of bad lines is not read to its end, and says so")
  func tooManyBadLines() {
    let limit = EndpointFile.badLineLimit
    let few = read("10.0.0.1 80\n" + String(repeating: "x\n", count: limit - 1) + "10.0.0.2 80\n")
    #expect(few.endpoints.count == 2 && few.badLineCount == limit - 1)
    let many = read("10.0.0.1 80\n" + String(repeating: "x\n", count: limit) + "10.0.0.2 80\n# end\n\n")
    #expect(many.endpoints.map(\.description) == ["10.0.0.1:80"] && many.badLineCount == limit + 1)
    #expect(many.problems.count == EndpointFile.problemLimit && many.problems.first?.line == 2)
    #expect(
      many.problems.last
        == EndpointFile.Problem(
          line: limit + 2, reason: "\(limit) lines are no endpoints: the lines from here on are not read"))
  }

  @Test("the order of lines does not matter")
  func order() {
    let lines = ["10.0.0.2 80", "[::1]:80", "10.0.0.1 81", "unix:/b", "10.0.0.1 80", "unix:/a", "[::1]:79"]
    let expected = ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80", "[::1]:79", "[::1]:80", "unix:/a", "unix:/b"]
    #expect(read(lines.joined(separator: "\n")).endpoints.map(\.description) == expected)
    #expect(read(lines.reversed().joined(separator: "\n")).endpoints.map(\.description) == expected)
  }

  @Test("a file of rubbish has no endpoints and traps nobody")
  func rubbish() {
    var random = RandomSource(seed: 7)
    for _ in 0..<2_000 {
      let alphabet = Array("0123456789.:[]%*#/ \n\tunix-abcf\u{0}\u{FF}".utf8)
      let bytes = (0..<Int(random.next(below: 80))).map { _ in
        alphabet[Int(random.next(below: UInt32(alphabet.count)))]
      }
      let file = EndpointFile(bytes, limit: 5)
      #expect(file.endpoints.count <= 5)
    }
    #expect(EndpointFile(Array("\u{0}\u{0}\u{0}".utf8), limit: 5).isUseless)
  }

  @Test(
    "hidden and temporary names are no services",
    arguments: [
      ".web", "web~", "#web#", "web.tmp", ".web.swp", "web.swp", "..data", "web.dpkg-new", "", "a b", "ä", "a*b",
    ])
  func names(_ name: String) { #expect(!EndpointFileName.isCandidate(name)) }

  @Test("plain names are", arguments: ["web", "web.local", "web-1_2", "8080", "a:b"])
  func goodNames(_ name: String) { #expect(EndpointFileName.isCandidate(name)) }

  @Test("the log gets a bounded number of lines in a while, and hears how many it missed")
  func logBudget() {
    var lines: [String] = []
    var now = MonotonicInstant(nanoseconds: 0)
    var log = LogBudget({ lines.append($0) }, now: now)
    for number in 0..<(LogBudget.limit + 5) { log.say("\(number)", now: now) }
    #expect(lines.count == LogBudget.limit)
    now = now.advanced(byNanoseconds: LogBudget.period)
    log.say("later", now: now)
    #expect(Array(lines.suffix(2)) == ["discovery: 5 lines like those were left out", "later"])
  }
}
