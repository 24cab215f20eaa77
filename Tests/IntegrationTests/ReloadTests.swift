// Another configuration for a running daemon: taken over whole or refused whole, without a request lost.

import Glibc
import TestSupport
import Testing

@Suite("Reload", needsDaemon, .timeLimit(.minutes(3)))
struct ReloadTests {
  private func generation(_ daemon: FairleadProcess) throws -> Double? {
    try daemon.admin.json("/status")["snapshotGeneration"].number
  }

  @Test("endpoints, services, delegations and policies of the new file hold, and connections stay open")
  func takesOver() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let two = try ScriptedUpstream(.answering(with: "two"))
    var options = FairleadOptions(one)
    try withFairlead(options, upstreams: [one, two]) { daemon in
      let client = try daemon.connect()
      #expect(try client.get("/").text == "one")
      #expect(try client.get("/", host: "shop").status == 404)

      options.services = ["web": ["\(two.address)"], "shop": ["\(one.address)"]]
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try generation(daemon) == 2)
      #expect(try client.get("/").text == "two")
      #expect(try client.get("/", host: "shop").text == "one")

      options.services = ["shop": ["\(two.address)"]]
      options.policy = ["timeouts": "{ request: 200ms }"]
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try client.get("/").status == 404)
      #expect(try client.get("/", host: "shop").text == "two")

      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try generation(daemon) == 3, "the same once more is nothing new")
      // What was idle towards the endpoint that is gone is closed.
      #expect(try eventually { try daemon.admin.value("fairlead_connections{direction=\"upstream\"}") == 1 })
    }
  }

  @Test("a file with a mistake changes nothing and says where it is")
  func refusesMistakes() throws {
    let upstream = try ScriptedUpstream(.answering(with: "one"))
    let options = FairleadOptions(upstream)
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let client = try daemon.connect()
      #expect(try client.get("/").text == "one")
      try reload(daemon, options.yaml(in: daemon.directory).replacing("discovery:", with: "discovry:"))
      #expect(daemon.child.standardError.contains("unknown key 'discovry'; did you mean 'discovery'?"))
      #expect(try generation(daemon) == 1)
      #expect(try client.get("/").text == "one")
      let metrics = try daemon.admin.get("/metrics").text
      #expect(metrics.contains("fairlead_config_reloads_total{outcome=\"refused\"} 1"))
      #expect(metrics.contains("fairlead_config_last_reload_successful 0"))
    }
  }

  @Test("what needs a restart is refused by its name, and nothing of the rest is taken over")
  func refusesFixed() throws {
    let upstream = try ScriptedUpstream(.answering(with: "one"))
    var options = FairleadOptions(upstream)
    try withFairlead(options, upstreams: [upstream]) { daemon in
      options.node = "via: false"
      options.services["shop"] = ["\(upstream.address)"]
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(daemon.child.standardError.contains("these have changed and need a restart: node.via"))
      #expect(try daemon.get(host: "shop").status == 404)
    }
  }

  @Test("a request that is under way finishes as it began, on its old endpoint")
  func finishes() throws {
    let mayAnswer = Gate()
    let slow = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        mayAnswer.wait()
        try connection.respond(to: request, body: "slow")
      }
    }
    let next = try ScriptedUpstream(.answering(with: "next"))
    var options = FairleadOptions(slow)
    try withFairlead(options, upstreams: [slow, next]) { daemon in
      let client = try daemon.connect()
      try client.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(slow.wait { $0.contains { !$0.requests.isEmpty } })
      options.services = ["web": ["\(next.address)"]]
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try daemon.get().text == "next")
      mayAnswer.open()
      #expect(try client.readResponse(to: "GET").text == "slow")
      #expect(try client.get("/").text == "next")
    }
  }
}
