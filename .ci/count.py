"""Adds up Swift Testing's event streams (one JSON object a line) and prints the closing line `N passed, N failed, N skipped`.

The exit code is non-zero when a test failed, never ended, or when no test ran at all.
"""

import json
import sys


def outcomes(path):
    """Returns {test id: 'passed' | 'failed' | 'skipped'} and the number of test cases in one stream."""
    result, functions, cases = {}, set(), 0
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
    return result, cases


def main(paths):
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    all_cases = 0
    for path in paths:
        result, cases = outcomes(path)
        all_cases += cases
        for identifier, outcome in result.items():
            totals[outcome] += 1
            if outcome == "failed":
                print(f"failed: {identifier}")
    print(f"{all_cases} cases in {sum(totals.values())} tests")
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] or not totals["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
