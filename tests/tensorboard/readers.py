"""Reads event files with the tensorboard package, in the three ways in which they are read."""

import logging
import time

import numpy as np
from tensorboard import context
from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.compat.proto import event_pb2
from tensorboard.data import server_ingester
from tensorboard.util import grpc_util


def paths(folder):
    """The event files, as the package orders them."""
    return sorted(p for p in folder.iterdir() if "tfevents" in p.name)


def points(folder):
    """`{tag: [(step, value)]}` of all records of all files, one after the other, nothing left out; checks how each file begins."""
    curves = {}
    for path in paths(folder):
        events = list(event_file_loader.LegacyEventFileLoader(str(path)).Load())
        if not path.stat().st_size:
            continue  # cut back to nothing
        assert events and events[0].file_version == "brain.Event:2", f"{path} does not begin as an event file"
        assert events[1].session_log.status == event_pb2.SessionLog.START, f"{path} does not say where it starts"
        size = sum(e.ByteSize() + 16 for e in events)
        assert size == path.stat().st_size, f"{path}: {path.stat().st_size - size} bytes that are no record"
        times = [e.wall_time for e in events]
        assert times == sorted(times) and abs(times[-1] - time.time()) < 1e9, f"{path}: wall-clock times"
        for event in events:
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    curves.setdefault(value.tag, []).append((event.step, np.float32(value.simple_value)))
    return curves


class Accumulator:
    """The package's reader in Python."""

    def __init__(self, folder):
        self.events = event_accumulator.EventAccumulator(
            str(folder), size_guidance=event_accumulator.STORE_EVERYTHING_SIZE_GUIDANCE
        )

    def curves(self):
        self.events.Reload()
        tags = self.events.Tags()["scalars"]
        return {tag: [(e.step, np.float32(e.value)) for e in self.events.Scalars(tag)] for tag in tags}

    def texts(self):
        tensors = {tag: self.events.Tensors(tag) for tag in self.events.Tags()["tensors"]}
        for tag in tensors:
            assert self.events.SummaryMetadata(tag).plugin_data.plugin_name == "text", f"{tag} is no text"
        return {tag: [e.tensor_proto.string_val[0].decode() for e in events] for tag, events in tensors.items()}

    def pictures(self):
        return {tag: self.events.Images(tag) for tag in self.events.Tags()["images"]}


class DataServer:
    """The data server, with which `tensorboard` reads by default. Reads again every second."""

    def __init__(self, folder):
        logging.getLogger("tensorboard").setLevel(logging.ERROR)
        self.ingester = server_ingester.SubprocessServerDataIngester(
            server_ingester.get_server_binary(),
            str(folder),
            reload_interval=1,
            channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
            samples_per_plugin={"scalars": 0},
        )
        self.ingester.start()

    def curves(self):
        found = self.ingester.data_provider.read_scalars(
            context.RequestContext(), experiment_id="", plugin_name="scalars", downsample=10**9
        )
        assert set(found) <= {"."}, f"runs {sorted(found)}"
        return {tag: [(p.step, np.float32(p.value)) for p in ps] for tag, ps in found.get(".", {}).items()}

    def settled(self, expected, seconds=20):
        """The curves once they are the expected ones, or those of the last look."""
        for _ in range(seconds):
            found = self.curves()
            if found == expected:
                break
            time.sleep(1)
        return found
