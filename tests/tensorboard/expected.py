"""The curves that a run folder's event files have to hold, from its other files, written independently of the program."""

import json
import math
import re

import numpy as np


class Curves(dict):
    """`{tag: [(step, value)]}`; a value that is no number is not a point."""

    def add(self, tag, step, value):
        if value is not None and math.isfinite(value):
            self.setdefault(tag, []).append((step, np.float32(value)))


def of_steps(run, curves):
    """Adds the curves of training; returns the number of steps per stage."""
    steps = {}
    log = run / "events.jsonl"
    for line in log.read_text().splitlines() if log.exists() else []:
        event = json.loads(line)
        stage, step = event.pop("stage"), event.pop("step")
        assert step == steps.get(stage, 0), f"step {step} of stage {stage} comes after {steps.get(stage)}"
        steps[stage] = step + 1
        at = sum(max(steps.get(s, 0), 1) for s in range(stage)) + step + 1
        curves.add("train/stage", at, stage)
        losses = [value for key, value in sorted(event.items()) if key.endswith(".loss")]
        if losses and "loss" not in event:
            curves.add("train/loss", at, None if None in losses else added(losses))
        for key, value in event.items():
            curves.add("train/" + key.replace(".", "/"), at, value)
    return steps


def added(values):
    """The sum, rounded after every term."""
    total = 0.0
    for value in values:
        total += value
    return total


def of_evaluation(evaluation, group, at, curves):
    """Adds the points of one evaluation."""
    found = {}
    for c in evaluation["classes"]:
        numbers = {name: number["value"] for name, number in c["metrics"].items()}
        numbers |= {f"nll.level{i}": value for i, value in enumerate(c.get("nll") or [])}
        for name, value in numbers.items():
            curves.add(f"{group}/{name}/{c['class']}", at, value)
            if value is not None:
                found.setdefault(name, []).append(value)
    for name, values in found.items():
        curves.add(f"{group}_mean/{name}", at, added(values) / len(values))
    right = [row["routed_class"] == c["class"] for c in evaluation["classes"] for row in c["images"]]
    if right:
        curves.add(f"{group}_mean/routing.accuracy", at, sum(right) / len(right))
    compared = evaluation.get("shortlist")
    if compared and compared["images"]:
        curves.add(f"{group}_mean/routing.shortlist_changed", at, compared["changed"] / compared["images"])


def of_run(run):
    """All curves."""
    curves = Curves()
    steps = of_steps(run, curves)
    at, stage = 0, 0
    while (path := run / f"evaluations/stage{stage}.json").exists():
        evaluation = json.loads(path.read_text())["evaluation"]
        at += max(steps.get(stage, 0), 1)
        of_evaluation(evaluation, "eval", at, curves)
        of_evaluation(evaluation, "tasks", stage, curves)
        stage += 1
    return curves


def of_matrices(run):
    """The curves over tasks once more, from the R matrices of a finished run; `None` for one that has not finished."""
    path = run / "metrics.json"
    if not path.exists():
        return None
    metrics, curves = json.loads(path.read_text()), Curves()
    names = [c["name"] for c in metrics["classes"]]
    tables = {f"{m}.{use}": rows for m, uses in metrics["matrices"].items() for use, rows in uses.items()}
    tables |= {f"nll.{level}": rows for level, rows in metrics.get("nll", {}).items()}
    for name, rows in tables.items():
        for stage, row in enumerate(rows):
            for c, value in zip(names, row):
                curves.add(f"tasks/{name}/{c}", stage, value)
    for name in ["accuracy", "shortlist_changed"]:
        for stage, value in enumerate(metrics["routing"][name]):
            curves.add(f"tasks_mean/routing.{name}", stage, value)
    return curves


def texts(run):
    """The texts of a run."""
    out = {"config": f"```toml\n{(run / 'config.toml').read_text()}```\n"}
    if (run / "summary.md").exists():
        out["summary"] = (run / "summary.md").read_text()
    return out


def pictures(run):
    """The PNG files of a run that are shown, by tag."""
    found = [(p, re.match("(best|missed|false-alarm)-1-", p.name)) for p in (run / "overlays").glob("*/*.png")]
    return {f"overlays/{p.parent.name}/{kind[1]}": p.read_bytes() for p, kind in found if kind}
