// swift-tools-version: 6.2
// The house of Fairlead: one target a module, floor by floor. A target may import only what it names here,
// and `make build` refuses an import that is not named (--explicit-target-dependency-import-check error).
import PackageDescription

// FAIRLEAD_FUZZ=1 adds the fuzz targets and instruments every module; build them in a scratch path of their own.
let isFuzzing = Context.environment["FAIRLEAD_FUZZ"] == "1"
let fuzzer = ["-sanitize=fuzzer,address"]

let strict: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
  ] + (isFuzzing ? [.unsafeFlags(fuzzer)] : [])

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies + ["TestSupport"], swiftSettings: strict)
}

/// A libFuzzer program: `Tests/Fuzz/<name>`, seeded from its Corpus folder.
func fuzzTarget(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: dependencies, path: "Tests/Fuzz/\(name)",
    exclude: ["Corpus"] + (["FuzzConfiguration", "FuzzDelegation"].contains(name) ? ["Corpus.dict"] : []),
    swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])], linkerSettings: [.unsafeFlags(fuzzer)])
}

// `make build` says which commit this is; only what a git hash is made of gets into the program.
let commit = Context.environment["FAIRLEAD_COMMIT"].map { $0.filter { $0.isASCII && ($0.isLetter || $0.isNumber) } }

let package = Package(
  name: "Fairlead",
  products: [
    .executable(name: "fairleadd", targets: ["fairleadd"]),
    .executable(name: "fairlead", targets: ["fairlead"]),
  ],
  targets: [
    // Floor 0: system libraries, and the C that Swift cannot import.
    .systemLibrary(name: "CLiburing", providers: [.apt(["liburing-dev"])]),
    .systemLibrary(name: "CNGHTTP2", providers: [.apt(["libnghttp2-dev"])]),
    .systemLibrary(name: "CYAML", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(name: "CAres", providers: [.apt(["libc-ares-dev"])]),
    .systemLibrary(name: "CPCRE2", providers: [.apt(["libpcre2-dev"])]),
    .target(name: "CFairlead"),
    .target(name: "CBuild", cSettings: commit.map { [.define("FAIRLEAD_COMMIT", to: "\"\($0)\"")] }),

    // Floor 1: containers, clocks, addresses.
    module("Base", ["CFairlead"]),

    // Floor 2: mechanisms. None knows another.
    module("EventLoop", ["Base", "CFairlead", "CLiburing"]),
    module("HTTP", ["Base", "CNGHTTP2"]),
    module("TLS", ["Base"]),
    module("Telemetry", ["Base", "CBuild"]),

    // Floor 3: pure decisions.
    module("Policy", ["Base", "HTTP", "Telemetry", "CPCRE2"]),

    // Floor 4: from a file to values.
    module("Configuration", ["Base", "HTTP", "Policy", "CYAML"]),

    // Floor 4: from names to endpoints.
    module("Discovery", ["Base", "CFairlead", "CAres", "EventLoop", "Policy"]),

    // Floor 4: how connections come to us, and whose they are.
    module("Capture", ["Base", "CFairlead"]),

    // Floor 5: the data plane.
    module(
      "Proxy",
      [
        "Base", "CFairlead", "CLiburing", "EventLoop", "HTTP", "TLS", "Telemetry", "Policy", "Configuration", "Capture",
        "Discovery",
      ]),

    // Floor 6: steering.
    module("Admin", ["Base", "CFairlead", "EventLoop", "HTTP", "Telemetry", "Policy"]),
    module("AdminClient", ["Base", "CFairlead", "Telemetry", "Capture"]),

    // Floor 7: the two programs.
    .executableTarget(
      name: "fairleadd",
      dependencies: [
        "Base", "CFairlead", "EventLoop", "Telemetry", "HTTP", "Policy", "Configuration", "Capture", "Discovery",
        "Proxy", "Admin",
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "fairlead", dependencies: ["Base", "Configuration", "Capture", "AdminClient"], swiftSettings: strict),

    // Tests.
    .target(name: "TestSupport", dependencies: ["Base"], path: "Tests/TestSupport", swiftSettings: strict),
    tests("BaseTests", ["Base"]),
    tests("EventLoopTests", ["EventLoop", "Base", "CFairlead"]),
    tests("HTTPTests", ["HTTP", "Base"]),
    tests("TLSTests", ["TLS"]),
    tests("TelemetryTests", ["Telemetry", "Base"]),
    tests("PolicyTests", ["Policy", "HTTP", "Base"]),
    tests("ConfigurationTests", ["Configuration", "Policy", "Base"]),
    tests("DiscoveryTests", ["Discovery", "EventLoop", "Policy", "Base"]),
    tests("CaptureTests", ["Capture", "Base", "CFairlead"]),
    tests(
      "ProxyTests", ["Proxy", "Configuration", "Discovery", "Policy", "HTTP", "Telemetry", "EventLoop", "Base"]),
    tests("AdminTests", ["Admin", "AdminClient", "Capture", "EventLoop", "Policy", "Telemetry", "Base"]),
    .testTarget(
      name: "IntegrationTests", dependencies: ["TestSupport"], exclude: ["Preload"], swiftSettings: strict),
  ]
)

if isFuzzing {
  package.targets += [
    fuzzTarget("FuzzRequest", ["HTTP"]),
    fuzzTarget("FuzzResponse", ["HTTP"]),
    fuzzTarget("FuzzChunked", ["HTTP"]),
    fuzzTarget("FuzzClientHello", ["TLS"]),
    fuzzTarget("FuzzProxyProtocol", ["Capture"]),
    fuzzTarget("FuzzHTTP2", ["HTTP"]),
    fuzzTarget("FuzzConfiguration", ["Configuration"]),
    fuzzTarget("FuzzDelegation", ["Policy", "Base"]),
    fuzzTarget("FuzzRoutes", ["Policy", "HTTP", "Base"]),
    fuzzTarget("FuzzNameAnswer", ["Discovery", "Base"]),
  ]
}
