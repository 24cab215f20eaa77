#!/usr/bin/env python3
"""Runs cases by name, or all: `run.py [--list] [SENTENCE …]`. Ends with 1 when one fails."""

import sys
import traceback

import cases_conformance  # noqa: F401
import cases_floods  # noqa: F401
import cases_flow  # noqa: F401
import cases_smuggling  # noqa: F401
import cases_upstream  # noqa: F401
from harness import CASES, Failure


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(CASES))
        return 0
    failed = 0
    for sentence in arguments or list(CASES):
        if sentence not in CASES:
            print(f"FAILED {sentence}: there is no such case", flush=True)
            failed += 1
            continue
        try:
            CASES[sentence]()
            print(f"passed {sentence}", flush=True)
        except Failure as failure:
            print(f"FAILED {sentence}: {failure}", flush=True)
            failed += 1
        except Exception:
            print(f"FAILED {sentence}:\n{traceback.format_exc()}", flush=True)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
