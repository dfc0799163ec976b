#!/usr/bin/env python3
"""Kills a run again and again while two readers look on, and compares what they show at the end with what a new reader shows.

usage: follow.py CCNF OUT [ARGUMENT…]      runs `CCNF run ARGUMENT… --out OUT`

The readers are those of check.py that stay: the package's in Python, and the data server. Neither may show a point twice, a point of
steps that were made again, or none at all; and they have to see points while the run goes.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import check
import expected
import readers


def made(run):
    """Training steps in the log."""
    log = run / "events.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def start(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    run = pathlib.Path(sys.argv[2])
    folder = run / "tensorboard"
    command = [sys.argv[1], "run", *sys.argv[3:], "--out", str(run)]
    if run.exists():
        sys.exit(f"{run} is there already")
    folder.mkdir(parents=True)
    (run / ".lock").touch()
    python, server = readers.Accumulator(folder), readers.DataServer(folder)
    live, kills = 0, 0
    for further in [3, 5, 1, 9, 4, 7]:
        process = start(command)
        aim = made(run) + further
        while process.poll() is None and made(run) < aim:
            time.sleep(0.02)
        seen = python.curves().get("train/stage", [])
        live = max(live, len(seen))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        python.curves()
        time.sleep(1.2)  # a look of the data server
    process = start(command)
    while process.poll() is None:
        points = len(python.curves().get("train/stage", []))
        live += points > 0
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{command} failed with {process.returncode}")
    wanted = expected.of_run(run)
    found = check.differences("Python reader that looked on", wanted, python.curves())
    found += check.differences("data server that looked on", wanted, server.settled(wanted))
    for line in found[:20]:
        print(line, file=sys.stderr)
    if found or not kills or not live:
        sys.exit(f"{folder}: {len(found)} differences; {kills} kills; points seen while the run went: {live}")
    print(f"{folder}: killed {kills} times, readers that looked on show what new ones do")


if __name__ == "__main__":
    main()
