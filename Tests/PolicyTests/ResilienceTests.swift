// Response classes and the safety of repeating a request.

import HTTP
import Policy
import Testing

@Suite struct ResilienceTests {
  @Test(
    "a status has its class",
    arguments: [
      (100, .success), (200, .success), (304, .success), (404, .success), (428, .success), (429, .throttled),
      (430, .success), (499, .success), (500, .failure), (503, .failure), (599, .failure), (0, .failure),
      (99, .failure), (600, .failure), (65535, .failure),
    ] as [(UInt16, ResponseClass)])
  func classes(status: UInt16, expected: ResponseClass) {
    #expect(ResponseClass(status: status) == expected)
    #expect(ResponseClass(status: status).countsAsSlow == (expected != .success))
  }

  @Test(
    "a broken attempt is judged by what the endpoint may have done",
    arguments: [
      // idempotent, reused, progress, response byte, replayable
      (false, false, .nothingSent, false, true, .safe(.neverSent)),
      (true, false, .nothingSent, false, true, .safe(.neverSent)),
      (false, true, .nothingSent, false, true, .safe(.staleConnection)),
      (true, true, .whollySent, false, true, .safe(.staleConnection)),
      (true, true, .partlySent, false, true, .safe(.staleConnection)),
      (true, false, .whollySent, false, true, .safe(.idempotent)),
      (true, false, .partlySent, false, true, .safe(.idempotent)),
      (false, true, .whollySent, false, true, .unsafe(.mayHaveBeenApplied)),
      (false, true, .partlySent, false, true, .unsafe(.mayHaveBeenApplied)),
      (false, false, .whollySent, false, true, .unsafe(.mayHaveBeenApplied)),
      (false, false, .partlySent, false, true, .unsafe(.mayHaveBeenApplied)),
      (true, true, .whollySent, true, true, .unsafe(.responseBegun)),
      (true, true, .whollySent, false, false, .unsafe(.bodyConsumed)),
      (true, false, .nothingSent, false, false, .unsafe(.bodyConsumed)),
    ] as [(Bool, Bool, RequestProgress, Bool, Bool, RetryVerdict)])
  func verdicts(
    idempotent: Bool, reused: Bool, progress: RequestProgress, responseByte: Bool, replayable: Bool,
    expected: RetryVerdict
  ) {
    let attempt = BrokenAttempt(
      isMethodIdempotent: idempotent, isConnectionReused: reused, progress: progress,
      sawResponseByte: responseByte, isBodyReplayable: replayable)
    #expect(RetryVerdict(of: attempt) == expected)
  }

  @Test("only a stale connection is repeated free of charge")
  func charges() {
    #expect(!RetryVerdict.safe(.staleConnection).chargesBudget)
    #expect(RetryVerdict.safe(.neverSent).chargesBudget)
    #expect(RetryVerdict.safe(.idempotent).chargesBudget)
  }

  @Test(
    "what is repeated though it was answered is the classifier's to say",
    arguments: [
      (.never, .get, 503, false), (.read5xx, .get, 500, true), (.read5xx, .head, 599, true),
      (.read5xx, .trace, 502, true), (.read5xx, .put, 503, false), (.read5xx, .post, 503, false),
      (.read5xx, .get, 499, false), (.read5xx, .get, 600, false), (.read5xx, .get, 429, false),
      (.idempotent5xx, .put, 503, true), (.idempotent5xx, .delete, 503, true), (.idempotent5xx, .patch, 503, false),
      (.idempotent5xx, .other, 503, false), (.all5xx, .post, 503, true), (.all5xx, .other, 503, true),
      (.all5xx, .connect, 503, false), (.all5xx, .post, 404, false),
    ] as [(ResponseClassifier, HTTP.Method, UInt16, Bool)])
  func classifiers(classifier: ResponseClassifier, method: HTTP.Method, status: UInt16, expected: Bool) {
    #expect(classifier.isRetryable(method, status: status) == expected)
  }
}
