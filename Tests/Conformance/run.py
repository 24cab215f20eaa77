#!/usr/bin/env python3
"""Runs cases by name, or all: `run.py [--list] [--jobs N] [--records] [SENTENCE …]`. Ends with 1 when one fails.

Cases run in worker processes, `--jobs` of them side by side; each takes one case after the other, so that a case does not pay for
a Python of its own. A case that kills its worker, or hangs in it, fails alone: the next one gets a new worker. `--records` is for
programs: for each case, when it has ended, `passed`, `failed` or `skipped`, the sentence, and what there is to say, between bytes
that no text has."""

import argparse
import contextlib
import importlib
import io
import json
import os
import pathlib
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import harness

SECONDS_FOR_A_CASE = 60
WRITING = threading.Lock()

for module in sorted(pathlib.Path(__file__).parent.glob("cases_*.py")):
    importlib.import_module(module.stem)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--records", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("sentences", nargs="*")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(harness.CASES))
        return 0
    if arguments.worker:
        return work()
    sentences = arguments.sentences or list(harness.CASES)
    waiting = queue.SimpleQueue()
    for sentence in sentences:
        waiting.put(sentence)
    outcomes = []
    runners = [
        threading.Thread(target=run_all, args=(waiting, outcomes, record if arguments.records else tell))
        for _ in range(min(max(arguments.jobs, 1), len(sentences)))]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    return 0 if len(outcomes) == len(sentences) and "failed" not in outcomes else 1


def tell(outcome, sentence, text):
    write(f"{'FAILED' if outcome == 'failed' else outcome} {sentence}" + (f": {text}" if text else "") + "\n")


def record(outcome, sentence, text):
    write(f"\x1e{outcome}\x1f{sentence}\x1f{text}")


def write(text):
    with WRITING:
        sys.stdout.write(text)
        sys.stdout.flush()


def run_all(waiting, outcomes, report):
    """Gives cases to one worker after the other until none is left."""
    worker = None
    while True:
        try:
            sentence = waiting.get_nowait()
        except queue.Empty:
            break
        if sentence not in harness.CASES:
            outcome, text = "failed", "there is no such case"
        else:
            worker = worker or Worker()
            outcome, text = worker.run(sentence)
            if not worker.is_usable:
                worker.end()
                worker = None
        outcomes.append(outcome)
        report(outcome, sentence, text)
    if worker:
        worker.end()


class Worker:
    """A process that runs the cases it is told to, one at a time."""

    def __init__(self):
        self.is_usable = True
        self.error = tempfile.TemporaryFile()
        # The kernel ends it with the thread that started it, which is the one that uses it.
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.error,
            preexec_fn=harness.die_with_parent, start_new_session=True)

    def run(self, sentence):
        self.process.stdin.write(sentence.encode() + b"\n")
        self.process.stdin.flush()
        end, line = time.monotonic() + SECONDS_FOR_A_CASE, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(end - time.monotonic(), 0))
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                self.is_usable = False
                self.process.kill()
                what = f"ended: {self.process.wait()}" if ready else f"has not ended after {SECONDS_FOR_A_CASE} s"
                self.error.seek(0)
                return "failed", f"its process {what}\n{self.error.read().decode(errors='replace')[-3000:]}"
            line += piece
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def work():
    """A worker: a sentence on a line in, what became of it as JSON on a line out."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            outcome, text = attempt(harness.CASES[line.rstrip("\n")])
        answers.write(json.dumps([outcome, text + ("\n" + printed.getvalue() if outcome == "failed" else "")]) + "\n")
        answers.flush()
    # Threads that a case has left behind, in a wait, are not waited for.
    os._exit(0)


def attempt(function):
    try:
        function()
        return "passed", ""
    except harness.Skipped as reason:
        return "skipped", str(reason)
    except harness.Failure as failure:
        return "failed", str(failure)
    except Exception:
        return "failed", traceback.format_exc()


if __name__ == "__main__":
    sys.exit(main())
