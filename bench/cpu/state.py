"""A training's state beside PyTorch's: how long a training stands for a checkpoint, how fast one is on disk and back, and how
fast ranks add up. Interleaved, medians; the first round is a warm-up. `main.py` prints the table."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import models
from trainee import Trainee

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TORCH = pathlib.Path(os.environ["FRESHET_DEPS_DIR"]) / "torch"

GPT2 = dict(models.GPT2["124M"], batch=4, length=64)
CHAR = dict(models.CHAR, batch=12, length=64)
TINY = dict(models.TINY, batch=2, length=32)


def seconds(trainee, command):
    return trainee.say(command)["seconds"]


def input_and_output(options, directory, parameters, rounds):
    """Seconds of each kind, ours and PyTorch's."""
    ours = Trainee("Freshet", [options.binaries / "checkpoint_io", "--directory", directory / "ours", "--parameters", parameters], 2)
    trainees = [("ours", ours)]
    if not options.smoke:
        command = [TORCH / "bin/python", ROOT / "bench/cpu/torch_checkpoint.py", "--directory", directory / "torch", "--parameters",
                   parameters]
        trainees.append(("torch", Trainee("PyTorch", command, os.cpu_count())))
    found = {}
    try:
        for _ in range(rounds + 1):
            for who, trainee in trainees:
                found.setdefault((who, "write"), []).append(seconds(trainee, "write"))
                seconds(trainee, "evict")
                found.setdefault((who, "cold"), []).append(seconds(trainee, "read"))
                found.setdefault((who, "warm"), []).append(seconds(trainee, "read"))
    finally:
        for _, trainee in trainees:
            trainee.stop()
    return {key: statistics.median(values[1:] or values) for key, values in found.items()}


def stall(options, directory, config, rounds):
    """Of one checkpoint of a training: seconds that it stood, and how much longer the steps beside it took in all."""
    command = [options.binaries / "gpt_train", "--weights", directory / "weights", *models.flags(config), "--threads", os.cpu_count()]
    subprocess.run([str(part) for part in [*command, "--prepare", "--batches", directory / "batches"]], check=True)
    steps = 4
    plain = Trainee("Freshet", command, os.cpu_count())
    saving = Trainee("Freshet", [*command, "--checkpoint_dir", directory / "stall", "--checkpoint_every", steps], os.cpu_count())
    totals = {plain: [], saving: []}
    try:
        for trainee in totals:
            trainee.steps(steps - 1)
        # A checkpoint falls due after the first step of each round, and the others go on beside it.
        for _ in range(rounds + 1):
            for trainee in totals:
                result = trainee.steps(steps)
                totals[trainee].append(sum(result["seconds"]))
        stalls = saving.results[-1]["stalls"]
    finally:
        plain.stop()
        saving.stop()
    # The first checkpoint has to find its memory.
    longer = statistics.median(totals[saving][1:]) - statistics.median(totals[plain][1:])
    return statistics.median(stalls[1:]), longer


def on_two_ranks(program, *arguments):
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", 2, program, *arguments]
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def all_reduce(options, rounds):
    sizes = (1,) if options.smoke else (16, 64, 256)
    return on_two_ranks(options.binaries / "allreduce", "--rounds", rounds, "--mebibytes", *sizes)


def step_cost(options, config, steps):
    """Seconds of a whole step with the tree and with MPI_Allreduce."""
    (found,) = on_two_ranks(options.binaries / "step_cost", "--steps", steps, *models.flags(config))
    return found["tree"], found["plain"]


def measure(options):
    rounds = 1 if options.smoke else 2 if options.quick else 5
    config = TINY if options.smoke else GPT2
    parameters = models.parameters(config)
    size = 12e-9 * parameters
    rows = []

    def row(what, ours, theirs, peer):
        ratio = f"{theirs / ours:.3g} x" if theirs else "-"
        rows.append((what, f"{ours:.3g} s", f"{theirs:.3g} s ({peer})" if theirs else "-", ratio))

    # Not in /tmp, which may be a tmpfs.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="freshet-cpu-bench.", dir="/var/tmp"))
    try:
        found = input_and_output(options, directory, parameters, rounds)
        stood, longer = stall(options, directory, config, rounds)
    finally:
        shutil.rmtree(directory)
    torch_write = found.get(("torch", "write"))
    row(f"a training stands for a checkpoint of {size:.2f} GB", stood, torch_write, "torch.save and fsync")
    row("the steps beside it take longer by", longer, None, "")
    row("on disk", found["ours", "write"], torch_write, "torch.save and fsync")
    row("read, in the page cache", found["ours", "warm"], found.get(("torch", "warm")), "torch.load")
    row("read, not in it", found["ours", "cold"], found.get(("torch", "cold")), "torch.load")
    for each in all_reduce(options, rounds):
        row(f"2 ranks add up {each['mebibytes']} MiB", each["tree"], each["mpi"], "MPI_Allreduce")
    trained = [("tiny", TINY, 2)] if options.smoke else [("char-GPT 0.8M", CHAR, 20 * rounds), ("GPT-2 124M", GPT2, 2 * rounds)]
    for name, model, steps in trained:
        row(f"a step of {name} on 2 ranks", *step_cost(options, model, steps), "MPI_Allreduce")
    return rows


def print_table(rows):
    print("\n| what | Freshet's | the peer's | ratio |\n|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
