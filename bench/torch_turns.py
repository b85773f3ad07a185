"""Stands between what PyTorch does and the benchmark that asks for it: a line of the standard input asks, a line of JSON answers."""

import json
import resource
import statistics
import sys
import time

import torch


class Marks:
    """Places in the device's work, and the seconds between them."""

    def __init__(self, device):
        self.device, self.marks = device, []

    def mark(self):
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self):
        if self.device.type != "cuda":
            return [b - a for a, b in zip(self.marks, self.marks[1:])]
        torch.cuda.synchronize()
        return [1e-3 * a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:])]


def describe(device):
    return {"version": torch.__version__, "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}


def say(answer):
    print(json.dumps(answer), flush=True)


def serve_steps(device, step):
    """Answers each number with what that many steps took: `seconds` of each on the device, `host_seconds` until each was
    queued, `losses`, which are read when all are done, and the peak of memory: allocated and reserved on a GPU, the process's on a
    CPU, whose `cpu_seconds` are of a step on all cores together."""
    say(describe(device))
    for line in sys.stdin:
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        marks, losses, host, began, cpu = Marks(device), [], [], time.perf_counter(), time.process_time()
        marks.mark()
        for _ in range(int(line)):
            queued = time.perf_counter()
            losses.append(step())
            host.append(time.perf_counter() - queued)
            marks.mark()
        seconds = marks.seconds()
        answer = {"seconds": seconds, "host_seconds": host, "wall_seconds": time.perf_counter() - began,
                  "losses": [loss.item() for loss in losses]}
        if device.type == "cuda":
            answer |= {"peak_mib": torch.cuda.max_memory_allocated() >> 20,
                       "reserved_mib": torch.cuda.max_memory_reserved() >> 20}
        else:
            answer |= {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
                       "cpu_seconds": (time.process_time() - cpu) / len(losses)}
        say(answer)


class Timer:
    """The median of some runs, each after the L2 cache was filled with something else, as kernels_bench does it."""

    def __init__(self, device, repeats=10):
        self.device, self.repeats = device, repeats
        self.other = torch.empty(1 << 28 if device.type == "cuda" else 1 << 12, dtype=torch.uint8, device=device)

    def microseconds(self, run):
        run()
        seconds = []
        pairs = [Marks(self.device) for _ in range(self.repeats)]
        for i, marks in enumerate(pairs):
            self.other.fill_(i)
            marks.mark()
            run()
            marks.mark()
        for marks in pairs:
            seconds += marks.seconds()
        return 1e6 * statistics.median(seconds)


def serve_groups(device, groups):
    """Answers the name of a group with the results of its cases: (name, shape, operations, bytes, make), where make() makes
    the tensors and returns what runs. They are made once."""
    say(describe(device))
    timer, made = Timer(device, 10 if device.type == "cuda" else 1), {}
    for line in sys.stdin:
        results = []
        for name, shape, operations, moved, make in groups[line.strip()]:
            result = {"name": name, "shape": shape, "operations": operations, "bytes": moved}
            try:
                if (name, shape) not in made:
                    made[name, shape] = make()
                result["microseconds"] = timer.microseconds(made[name, shape])
            except RuntimeError as error:
                result["error"] = str(error).strip().splitlines()[0]
            results.append(result)
        say({"results": results})
