"""Saves and loads the state of a training with PyTorch, as its users do: torch.save and fsync, torch.load. Reads "write", "read"
or "evict" from its standard input, a line each, and answers each with a line of JSON; bench/cpu/checkpoints.py talks to it."""

import argparse
import json
import os
import pathlib
import sys
import time

import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=pathlib.Path, required=True)
    parser.add_argument("--parameters", type=int, required=True)
    options = parser.parse_args()
    options.directory.mkdir(parents=True)
    path = options.directory / "state.pt"
    torch.manual_seed(1)
    state = {name: torch.rand(options.parameters) for name in ("weights", "exp_avg", "exp_avg_sq")}
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        if line == "write\n":
            with path.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
        elif line == "read\n":
            loaded = torch.load(path)
            assert loaded["weights"][-1] == state["weights"][-1]
            del loaded
        else:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        print(json.dumps({"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main()
