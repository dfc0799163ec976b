"""The protocol between `cargo xtask bench` and a peer: one line in, one timed piece of work, one line out."""

import json
import sys
import time


def serve(work, ready, after=dict):
    """Prints `ready` as JSON, then answers every line `step` with `{"seconds": ..., ...}`.

    `work()` does one piece of work and returns a dict of values to report beside the time; `after()` is not timed and
    returns further values.
    """
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        if line.strip() != "step":
            break
        start = time.perf_counter()
        values = work()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, **values, **after()}), flush=True)
