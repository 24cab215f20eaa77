// `workloads`: what is refused, and what two of them cannot share.

import Configuration
import Testing

@Suite("Workloads")
struct WorkloadTests {
  @Test(
    "a wrong value is refused with what it may be",
    arguments: [
      ("{match: {users: [0]}}", "2:13: 'name' is missing in workloads[0]; write name: web"),
      ("{name: a}", "2:13: 'match' is missing in workloads[0]; write match: { addresses: [10.1.0.0/24] }"),
      (
        "{name: a, match: {}}",
        "2:30: 'workloads[0].match' matches nothing; write addresses, users or cgroups, such as users: [www-data]"
      ),
      (
        "{name: a, match: {users: []}}",
        "2:30: 'workloads[0].match' matches nothing; write addresses, users or cgroups, such as users: [www-data]"
      ),
      (
        "{name: a/b, match: {users: [0]}}",
        "2:20: a workload's name has up to 63 letters, digits and any of -._, not 'a/b'"
      ),
      (
        "{name: other, match: {users: [0]}}",
        "2:20: 'other' is what callers without a workload are called; take another name"
      ),
      (
        "{name: a, match: {address: [10.0.0.0/8], users: [0]}}",
        "2:31: unknown key 'address' in workloads[0].match; did you mean 'addresses'?"
      ),
      (
        "{name: a, match: {users: [0]}, weigth: 1}",
        "2:44: unknown key 'weigth' in workloads[0]; did you mean 'weight'?"
      ),
      ("{name: a, match: {users: 0}}", "2:38: 'workloads[0].match.users' must be a list, not a single value"),
      ("{name: a, match: {users: [[0]]}}", "2:39: 'workloads[0].match.users[0]' must be a user, not a list"),
      (
        "{name: a, match: {addresses: [10.0.0.1/8]}}",
        "2:43: '10.0.0.1/8' is not a network: 10.0.0.1 has bits set behind the first 8; did you mean 10.0.0.0/8?"
      ),
      (
        "{name: a, match: {addresses: [web]}}",
        "2:43: 'web' is not a network: write 10.0.0.0/8, 2001:db8::/32 or one address"
      ),
      (
        "{name: a, match: {users: [4294967295]}}",
        "2:39: '4294967295' is not a user: a user's number is between 0 and 4294967294"
      ),
      (
        "{name: a, match: {users: [a b]}}",
        "2:39: 'a b' is not a user: write its name, such as www-data, or its number"
      ),
      (
        "{name: a, match: {users: [-1]}}",
        "2:39: '-1' is not a user: write its name, such as www-data, or its number"
      ),
      ("{name: a, match: {users: [\"\"]}}", "2:39: '' is not a user: write its name, such as www-data, or its number"),
      (
        "{name: a, match: {cgroups: [web.service]}}",
        "2:41: 'web.service' is not a cgroup: write its path from the root of the hierarchy, such as "
          + "/system.slice/web.service"
      ),
      (
        "{name: a, match: {cgroups: [/sys/fs/cgroup/web.slice]}}",
        "2:41: '/sys/fs/cgroup/web.slice' is not a cgroup: write the path below the mount point; did you mean "
          + "/web.slice?"
      ),
      (
        "{name: a, match: {cgroups: [/a/../b]}}",
        "2:41: '/a/../b' is not a cgroup: the path must have no empty parts, '.' or '..'"
      ),
      (
        "{name: a, match: {cgroups: [//a]}}",
        "2:41: '//a' is not a cgroup: the path must have no empty parts, '.' or '..'"
      ),
      (
        "{name: a, match: {cgroups: [\"/a\\0\"]}}",
        "2:41: '/a\u{FFFD}' is not a cgroup: it is too long or holds control characters"
      ),
      (
        "{name: a, match: {users: [0]}, weight: 0}",
        "2:52: 'workloads[0].weight' must be between 0.001 and 1000, not 0"
      ),
      (
        "{name: a, match: {users: [0]}, onFailure: refused}",
        "2:55: 'workloads[0].onFailure' must be 'bypass' or 'refuse', not 'refused'; did you mean 'refuse'?"
      ),
    ])
  func refused(fragment: String, expected: String) {
    #expect(findings(in: "workloads: [\(fragment)]") == [expected])
  }

  @Test(
    "what two workloads match would be the first one's only",
    arguments: [
      (
        "{name: a, match: {users: [1]}}", "{name: a, match: {users: [2]}}",
        "3:10: the workload name 'a' is taken; it is first written at fairlead.yaml:2:20"
      ),
      (
        "{name: a, match: {users: [1]}}", "{name: b, match: {users: [01]}}",
        "3:29: the user '1' is taken; it is first written at fairlead.yaml:2:39"
      ),
      (
        "{name: a, match: {addresses: [10.0.0.1]}}", "{name: b, match: {addresses: [10.0.0.1/32]}}",
        "3:33: the address '10.0.0.1' is taken; it is first written at fairlead.yaml:2:43"
      ),
      (
        "{name: a, match: {cgroups: [/a]}}", "{name: b, match: {cgroups: [/a/]}}",
        "3:31: the cgroup '/a' is taken; it is first written at fairlead.yaml:2:41"
      ),
    ])
  func shared(first: String, second: String, expected: String) {
    #expect(findings(in: "workloads: [\(first),\n  \(second)]") == [expected])
  }

  @Test("networks and cgroups in others are no conflict: the closer match wins")
  func nested() {
    let text = """
      workloads:
        - {name: a, match: {addresses: [10.0.0.0/8], cgroups: [/a]}}
        - {name: b, match: {addresses: [10.1.0.0/16], cgroups: [/a/b]}}
      """
    #expect(findings(in: text) == [])
  }

  @Test("lists have an end")
  func limits() {
    let many = (0...1_000).map { "{name: w\($0), match: {users: [\($0)]}}" }.joined(separator: ", ")
    #expect(findings(in: "workloads: [\(many)]").count == 1)
    #expect(findings(in: "workloads: [\(many)]").first?.hasSuffix(": 'workloads' has more than 1000 entries") == true)
    let users = (0...1_000).map { "\($0)" }.joined(separator: ", ")
    let found = findings(in: "workloads: [{name: a, match: {users: [\(users)]}}]")
    #expect(found.count == 1 && found[0].hasSuffix(": 'workloads[0].match.users' has more than 1000 entries"))
  }
}
