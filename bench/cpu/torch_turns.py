"""Stands between a training of PyTorch's and bench/cpu/main.py, as turns.h does for ours."""

import json
import resource
import sys
import time

import torch


def serve(step):
    """Answers each number on the standard input with a line of JSON: what that many steps took, and their losses."""
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        seconds, losses, cpu = [], [], time.process_time()
        for _ in range(int(line)):
            began = time.perf_counter()
            losses.append(step())
            seconds.append(time.perf_counter() - began)
        print(json.dumps({"seconds": seconds, "losses": losses, "cpu_seconds": (time.process_time() - cpu) / len(losses),
                          "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}), flush=True)
