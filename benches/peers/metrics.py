"""Pixel AUROC in scikit-learn and AUPRO in anomalib: the peer of `cargo xtask bench metrics`.

usage: metrics.py FOLDER SIDE MAPS THREADS

The folder holds base maps (maps.f32), their masks (masks.u8) and a gain and an offset per map (variants.f32). Map i is base map
i modulo their number, times gain i, plus offset i, in float32.
"""

import gc
import resource
import sys
import time
from pathlib import Path

import anomalib
import numpy as np
import sklearn
import torch
from anomalib.metrics.aupro import _AUPRO  # the metric without the wrapper that takes whole batches of images
from sklearn.metrics import roc_auc_score

from line_protocol import serve

folder, side, maps, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)


def expand():
    bases = np.fromfile(folder / "maps.f32", dtype=np.float32).reshape(-1, side, side)
    masks = np.fromfile(folder / "masks.u8", dtype=np.uint8).reshape(-1, side, side)
    variants = np.fromfile(folder / "variants.f32", dtype=np.float32).reshape(-1, 2)
    scores = np.empty((maps, side, side), dtype=np.float32)
    for i, (gain, offset) in enumerate(variants):
        np.multiply(bases[i % len(bases)], gain, out=scores[i])
        scores[i] += offset
    return scores, masks[np.arange(maps) % len(bases)]


scores, masks = expand()


def measure():
    start = time.perf_counter()
    auroc = roc_auc_score(masks.ravel(), scores.ravel())
    gc.collect()
    middle = time.perf_counter()
    metric = _AUPRO(fpr_limit=0.3)
    metric.update(torch.from_numpy(scores), torch.from_numpy(masks))
    aupro = metric.compute().item()
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = {"auroc_seconds": middle - start, "aupro_seconds": end - middle}
    return {"auroc": float(auroc), "aupro": aupro, "peak_kib": peak, **times}


version = f"scikit-learn {sklearn.__version__} and anomalib {anomalib.__version__}"
serve(measure, {"version": version, "threads": torch.get_num_threads()})
