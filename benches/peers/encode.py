"""EfficientNet-Lite0 up to stride 16 in ONNX Runtime: the peer of `cargo xtask bench encode`.

usage: encode.py MODEL.onnx IMAGES.f32 BATCH THREADS

The images are raw float32 values in [0, 1], [BATCH, 3, 224, 224].
"""

import sys

import numpy as np
import onnxruntime

from line_protocol import serve

model, images, batch, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
# Idle threads must not spin while the other side is being timed.
options.add_session_config_entry("session.intra_op.allow_spinning", "1")
options.add_session_config_entry("session.force_spinning_stop", "1")
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
inputs = {"image": np.fromfile(images, dtype=np.float32).reshape(batch, 3, 224, 224)}


def encode():
    outputs = session.run(None, inputs)
    return {"sums": [float(np.abs(o, dtype=np.float64).sum()) for o in outputs]}


serve(encode, {"version": f"ONNX Runtime {onnxruntime.__version__}", "threads": threads})
