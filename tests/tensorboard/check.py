#!/usr/bin/env python3
"""Compares the event files of a run with its other files, curve by curve, step by step, value by value (float32).

usage: check.py RUN_DIR [EVENTS_DIR]      EVENTS_DIR: RUN_DIR/tensorboard, or what was exported

The files are read three ways: all their records, nothing left out; with the package's reader in Python; with the data server that
`tensorboard` starts by default. All three have to show the same: what events.jsonl, evaluations/ and metrics.json say.
"""

import json
import pathlib
import sys

import expected
import readers


def differences(how, wanted, found):
    """What differs, in words."""
    out = [f"{how}: no curve {tag}" for tag in sorted(wanted.keys() - found.keys())]
    out += [f"{how}: a curve {tag} of nothing" for tag in sorted(found.keys() - wanted.keys())]
    for tag in sorted(wanted.keys() & found.keys()):
        if wanted[tag] != found[tag]:
            pairs = zip(wanted[tag] + [None] * len(found[tag]), found[tag] + [None] * len(wanted[tag]))
            first = next((w, f) for w, f in pairs if w != f)
            out.append(f"{how}: {tag} has {len(found[tag])} points of {len(wanted[tag])}; expected {first[0]}, found {first[1]}")
    return out


def check(run, folder):
    """What differs, in words; and the number of curves and points."""
    wanted = expected.of_run(run)
    found = readers.points(folder)
    out = differences("all records", wanted, found)
    for tag, points in found.items():
        steps = [step for step, _ in points]
        if any(a >= b for a, b in zip(steps, steps[1:])):
            out.append(f"{tag}: the steps do not rise: {steps}")
    accumulator = readers.Accumulator(folder)
    out += differences("Python reader", wanted, accumulator.curves())
    server = readers.DataServer(folder)
    out += differences("data server", wanted, server.settled(wanted))
    if (matrices := expected.of_matrices(run)) is not None:
        tasks = {t: p for t, p in found.items() if t.startswith("tasks/") or t.startswith("tasks_mean/routing")}
        out += differences("metrics.json", matrices, tasks)
        summary = json.loads((run / "metrics.json").read_text())["summary"]
        for name, value in summary.items():
            metric, _, statistic = name.rpartition(".")
            if statistic == "acc_final" and value is not None and abs(found[f"tasks_mean/{metric}"][-1][1] - value) > 1e-6:
                out.append(f"{name} is {value}, the last point of tasks_mean/{metric} is not")
    texts = {tag: [text] for tag, text in expected.texts(run).items()}
    if (shown := accumulator.texts()) != texts:
        out.append(f"texts: expected {sorted(texts)}, found {({t: len(v) for t, v in shown.items()})}, or other words")
    pictures, shown = expected.pictures(run), accumulator.pictures()
    if {tag: [e.encoded_image_string for e in es] for tag, es in shown.items()} != {t: [p] for t, p in pictures.items()}:
        out.append(f"pictures: expected {sorted(pictures)}, found {sorted(shown)}, or others")
    if any(e.width <= 0 or e.height <= 0 for es in shown.values() for e in es):
        out.append("pictures: one has no size")
    return out, len(wanted), sum(map(len, wanted.values()))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    run = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else run / "tensorboard"
    found, curves, points = check(run, folder)
    for line in found[:20]:
        print(f"{folder}: {line}", file=sys.stderr)
    if found or not points:
        sys.exit(f"{folder}: {len(found)} differences, {points} points")
    print(f"{folder}: {curves} curves, {points} points in {len(readers.paths(folder))} files: as the run says")


if __name__ == "__main__":
    main()
