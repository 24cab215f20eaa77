"""Adds up Swift Testing's event streams (one JSON object a line): prints what failed, with the reason, and the closing line
`N passed, N failed, N skipped`.

The exit code is non-zero when a test failed, never ended, or when no test ran at all.
"""

import json
import sys

# What is said of a failed test here, at most; the whole of it stands in the runner's own output above.
REASONS, CHARACTERS = 5, 2000


def outcomes(path):
    """Returns {test id: 'passed' | 'failed' | 'skipped'}, {test id: [why it failed]} and the number of cases in one stream."""
    result, reasons, functions, cases = {}, {}, set(), 0
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # The last line of a crashed run may be cut.
            payload = record.get("payload", {})
            if record.get("kind") == "test":
                if payload.get("kind") == "function":
                    functions.add(payload["id"])
                continue
            identifier, kind = payload.get("testID"), payload.get("kind")
            if identifier not in functions:
                continue
            if kind == "testStarted":
                result[identifier] = "failed"  # Until it ends otherwise.
            elif kind == "testCaseEnded":
                cases += 1
            elif kind == "issueRecorded" and not payload.get("issue", {}).get("isKnown"):
                place = payload["issue"].get("sourceLocation", {})
                reasons.setdefault(identifier, []).append(
                    f"{place.get('fileID')}:{place.get('line')}: "
                    + "\n".join(message.get("text", "") for message in payload.get("messages", [])))
            elif kind == "testSkipped":
                result[identifier] = "skipped"
            elif kind == "testEnded":
                symbols = {message.get("symbol") for message in payload.get("messages", [])}
                if "fail" in symbols:
                    result[identifier] = "failed"
                elif "skip" in symbols:
                    result[identifier] = "skipped"
                else:
                    result[identifier] = "passed"
    return result, reasons, cases


def main(paths):
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    all_cases = 0
    for path in paths:
        result, reasons, cases = outcomes(path)
        all_cases += cases
        for identifier, outcome in result.items():
            totals[outcome] += 1
            if outcome == "failed":
                print(f"failed: {identifier}")
                for reason in reasons.get(identifier, ["it never ended"])[:REASONS]:
                    print("    " + reason[:CHARACTERS].strip().replace("\n", "\n    "))
    print(f"{all_cases} cases in {sum(totals.values())} tests")
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] or not totals["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
