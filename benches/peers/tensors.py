"""Reads the problem that `cargo xtask bench` writes for a peer."""

import json
import struct

import numpy as np
import torch


def load(path):
    """Tensors of a safetensors file: an 8-byte header length, a JSON header, the data."""
    with open(path, "rb") as file:
        raw = file.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        dtype = {"F32": np.float32, "U32": np.uint32}[entry["dtype"]]
        data = np.frombuffer(raw[8 + size + start : 8 + size + end], dtype=dtype)
        values = data.astype(np.int64) if dtype is np.uint32 else data.copy()
        tensors[name] = torch.from_numpy(values.reshape(entry["shape"]))
    return tensors
