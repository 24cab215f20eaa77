// The host cache: right for every length and case, forgetful between generations, and not to be flooded.

import Base
import Policy
import Testing

private final class Cache {
  let cache: NameCache

  init(seed: UInt64 = 1, foldsCase: Bool = true) {
    var random = RandomSource(seed: seed)
    cache = NameCache(random: &random, foldsCase: foldsCase)
  }

  deinit { cache.destroy() }

  func lookup(_ host: String, _ generation: UInt32 = 1) -> NameCache.Answer {
    Array(host.utf8).withUnsafeBytes { cache.lookup($0, generation: generation) }
  }

  func insert(_ host: String, _ answer: NameCache.Answer, _ generation: UInt32 = 1) {
    Array(host.utf8).withUnsafeBytes { cache.insert($0, generation: generation, answer: answer) }
  }
}

@Suite struct NameCacheTests {
  @Test("a host of any length up to 64 bytes is found again, in any case, and no other is", arguments: 1...64)
  func lengths(length: Int) {
    let cache = Cache()
    let host = String((0..<length).map { Character(Unicode.Scalar(UInt8(97 + $0 % 26))) })
    #expect(cache.lookup(host) == .unknown)
    cache.insert(host, .service(7))
    #expect(cache.lookup(host) == .service(7))
    #expect(cache.lookup(host.uppercased()) == .service(7))
    for position in 0..<length {
      var bytes = Array(host.utf8)
      bytes[position] = UInt8(ascii: "-")
      #expect(bytes.withUnsafeBytes { cache.cache.lookup($0, generation: 1) } == .unknown)
    }
    #expect(cache.lookup(host + "a") == .unknown)
    #expect(cache.lookup(String(host.dropLast())) == .unknown)
  }

  @Test("only letters have a case: bytes 32 apart that are none stay different")
  func cases() {
    let cache = Cache()
    for byte in 0...255 as ClosedRange<UInt8> {
      let partner = byte ^ 0x20
      let isLetter = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) && byte < 0x80
      for filler in [0, 3, 12] {
        let host = [UInt8](repeating: UInt8(ascii: "x"), count: filler)
        (host + [byte]).withUnsafeBytes { cache.cache.insert($0, generation: 1, answer: .service(UInt32(byte))) }
        let found = (host + [partner]).withUnsafeBytes { cache.cache.lookup($0, generation: 1) }
        #expect((found == .service(UInt32(byte))) == isLetter, "byte \(byte)")
      }
    }
  }

  @Test("a cache that tells cases apart does", arguments: [1, 3, 5, 8, 13, 64])
  func exactCases(length: Int) {
    let cache = Cache(foldsCase: false)
    let lower = String(repeating: "q", count: length)
    cache.insert(lower, .service(1))
    cache.insert(lower.uppercased(), .service(2))
    #expect(cache.lookup(lower) == .service(1))
    #expect(cache.lookup(lower.uppercased()) == .service(2))
  }

  @Test("services and trees are told apart, up to the highest numbers there are")
  func trees() {
    let cache = Cache()
    for number in [0, 1, 0x7FFF_FFFE] as [UInt32] {
      cache.insert("s", .service(number))
      cache.insert("t", .tree(number))
      #expect(cache.lookup("s") == .service(number) && cache.lookup("t") == .tree(number))
    }
    cache.insert("u", .service(0x8000_0000))
    cache.insert("v", .tree(0x7FFF_FFFF))
    #expect(cache.lookup("u") == .unknown && cache.lookup("v") == .unknown)
  }

  @Test("an empty host and one over 64 bytes are not kept")
  func outOfRange() {
    let cache = Cache()
    let long = String(repeating: "a", count: 65)
    cache.insert(long, .service(1))
    cache.insert("", .service(1))
    #expect(cache.lookup(long) == .unknown)
    #expect(cache.lookup("") == .unknown)
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    cache.cache.insert(nothing, generation: 1, answer: .negative)
    #expect(cache.cache.lookup(nothing, generation: 1) == .unknown)
  }

  @Test("an answer holds for its generation only")
  func generations() {
    let cache = Cache()
    cache.insert("shop.local", .service(1), 1)
    #expect(cache.lookup("shop.local", 2) == .unknown)
    cache.insert("shop.local", .negative, 2)
    #expect(cache.lookup("shop.local", 2) == .negative)
    #expect(cache.lookup("shop.local", 1) == .unknown)
    cache.insert("shop.local", .unknown, 2)
    #expect(cache.lookup("shop.local", 2) == .negative)
  }

  @Test("a flood of hosts nobody knows costs no service its place")
  func flood() {
    let cache = Cache(seed: 42)
    for index in 0..<100 as Range<UInt32> { cache.insert("service-\(index).local", .service(index)) }
    let kept = (0..<100 as Range<UInt32>).filter { cache.lookup("service-\($0).local") == .service($0) }
    // A hundred hosts over 512 sets of two: three in a set happen, rarely.
    #expect(kept.count >= 90)
    for index in 0..<100_000 { cache.insert("x\(index).example", .negative) }
    for index in kept { #expect(cache.lookup("service-\(index).local") == .service(index)) }
  }

  @Test("seeds place hosts differently, so nobody can aim at a set")
  func seeds() {
    var placings: Set<[Bool]> = []
    for seed in 1...8 as ClosedRange<UInt64> {
      let cache = Cache(seed: seed)
      for index in 0..<2000 as Range<UInt32> { cache.insert("h\(index)", .service(index)) }
      placings.insert((0..<2000).map { cache.lookup("h\($0)") != .unknown })
    }
    #expect(placings.count == 8)
  }

  @Test("hosts that differ little spread over all sets")
  func spread() {
    let cache = Cache(seed: 9)
    for index in 0..<1024 as Range<UInt32> { cache.insert("api-\(index).eu.example.com:8080", .service(index)) }
    let kept = (0..<1024).filter { cache.lookup("api-\($0).eu.example.com:8080") != .unknown }.count
    // Two hosts for each of 512 sets on average: a set keeps 2 - 4e^-2 = 1.46 of its own, 747 in all.
    #expect(kept > 690 && kept < 800)
  }

  @Test("whatever is asked, an answer is one that was given for that host")
  func model() {
    let seed = UInt64.random(in: 0 ... .max)
    print("NameCacheTests.model seed \(seed)")
    var random = RandomSource(seed: seed)
    let cache = Cache(seed: seed)
    var model: [String: NameCache.Answer] = [:]
    var hits = 0
    for step in 0..<50_000 as Range<UInt32> {
      let host = String(repeating: "n", count: Int(random.next(below: 20))) + "\(random.next(below: 200))"
      if random.next(below: 3) == 0 {
        let answer = random.next(below: 4) == 0 ? NameCache.Answer.negative : .service(step)
        cache.insert(host, answer)
        model[host] = answer
      } else {
        let found = cache.lookup(host)
        if found != .unknown {
          hits += 1
          #expect(found == model[host], "seed \(seed)")
        }
      }
    }
    #expect(hits > 1000, "seed \(seed)")
  }
}
