// A certificate and a key for servers of tests, made by openssl.

/// Makes `cert.pem` and `key.pem` in a directory.
public func makeCertificate(in directory: TemporaryDirectory, names: [String]) throws {
  guard let openssl = findTool("openssl") else { throw HarnessError("openssl is not installed") }
  let child = try Child(
    [
      openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
      "-subj", "/CN=\(names.first ?? "test")", "-addext",
      "subjectAltName=\(names.map { "DNS:\($0)" }.joined(separator: ","))", "-keyout", directory.path("key.pem"),
      "-out", directory.path("cert.pem"),
    ], directory: directory, name: "openssl-req")
  guard child.wait(seconds: 20) == .exited(0) else { throw HarnessError("openssl req: \(child.standardError)") }
}
