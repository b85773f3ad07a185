"""bench/cpu/run: Freshet's training and PyTorch's on this machine, in turns. Both start from the same weights and read the same
tokens; their losses must agree before a rate is printed. PyTorch is taken at its fastest: eager and compiled, one thread and
all of them."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))
import models  # noqa: E402
import state  # noqa: E402
from trainee import Trainee  # noqa: E402

TORCH = pathlib.Path(os.environ["FRESHET_DEPS_DIR"]) / "torch"

TRAINING = dict(weight_decay=0.1, clip_norm=1.0)
# micro_batches: into how many Freshet divides the batch. One is spread over all threads, a tile of a product each; two small
# ones go side by side, a thread each.
GPT2 = dict(models.GPT2["124M"], batch=4, micro_batches=1, length=64, learning_rate=1e-4, **TRAINING)
CHAR = dict(models.CHAR, batch=12, micro_batches=2, length=64, learning_rate=1e-3, **TRAINING)
TINY = dict(models.TINY, batch=2, micro_batches=2, length=32, learning_rate=1e-3, **TRAINING)

# 26 tables, as Criteo's rows have; and the model of configs/flights, whose tables are part of the dense parameters.
DLRM = dict(tables=26, codes=100_000, dim=16, numeric=13, numeric_layers=[64, 16], hidden=[64, 32], dot=1, rowwise_adagrad=1,
            batch=2048, micro_batches=8, learning_rate=1e-3, weight_decay=0.0)
FLIGHTS = dict(tables=2, codes=229, dim=16, numeric=1, numeric_layers=[], hidden=[64, 32], dot=0, rowwise_adagrad=0, batch=4096,
               micro_batches=8, learning_rate=2e-3, weight_decay=0.01)
TINY_DLRM = dict(DLRM, tables=3, codes=50, batch=64)

# How far a loss may be from PyTorch's, relatively: the sums are made in another order, or from rounded operands.
LOSS_TOLERANCE = {False: 1e-3, True: 1e-2}


class Case:
    WARM_UP_STEPS = 2

    def __init__(self, name, config, bfloat16, steps, rounds):
        self.name, self.config, self.bfloat16, self.steps, self.rounds = name, config, bfloat16, steps, rounds

    @property
    def steps_in_all(self):
        return self.WARM_UP_STEPS + max(2, self.steps) * max(1, self.rounds)

    @property
    def tokens(self):
        return self.config["batch"] * self.config["length"]

    def our_command(self, options, directory, threads):
        return [options.binaries / "gpt_train", "--weights", directory / "weights", "--steps", self.steps_in_all,
                "--threads", threads, *models.flags(self.config), *(["--bf16"] if self.bfloat16 else [])]

    def prepare_command(self, options, directory):
        return [*self.our_command(options, directory, 1), "--prepare", "--batches", directory / "batches"]

    def torch_command(self, directory, threads, compiled):
        return [TORCH / "bin/python", ROOT / "bench/torch_gpt.py", "--config", json.dumps(self.config), "--weights",
                directory / "weights", "--batches", directory / "batches", "--device", "cpu", "--threads", threads,
                "--precision", "autocast" if self.bfloat16 else "float", "--compile", "default" if compiled else "no"]


class TabularCase(Case):
    """Rows in memory; a row counts where a token does in a gpt."""

    WARM_UP_STEPS = 10

    def __init__(self, name, config, steps, rounds):
        super().__init__(name, config, False, steps, rounds)

    @property
    def tokens(self):
        return self.config["batch"]

    def our_command(self, options, directory, threads):
        return [options.binaries / "tabular_train", "--weights", directory / "weights", "--data", directory / "data",
                "--threads", threads, *models.flags(self.config)]

    def prepare_command(self, options, directory):
        return [*self.our_command(options, directory, 1), "--prepare", "--order", directory / "order", "--steps",
                self.steps_in_all]

    def torch_command(self, directory, threads, compiled):
        return [TORCH / "bin/python", ROOT / "bench/cpu/torch_tabular.py", "--config", json.dumps(self.config), "--weights",
                directory / "weights", "--data", directory / "data", "--order", directory / "order", "--threads", threads]


def cases(options):
    if options.smoke:
        return [Case("tiny, fp32", TINY, False, 2, 1), Case("tiny, bf16", TINY, True, 2, 1),
                TabularCase("tiny DLRM", TINY_DLRM, 2, 1)]
    rounds = 3 if options.quick else 7
    all_cases = [Case("GPT-2 124M, B=4 T=64, fp32", GPT2, False, 1 if options.quick else 2, rounds),
                 Case("GPT-2 124M, B=4 T=64, bf16", GPT2, True, 1 if options.quick else 2, rounds),
                 Case("char-GPT 0.8M, B=12 T=64, fp32", CHAR, False, 20, rounds),
                 Case("char-GPT 0.8M, B=12 T=64, bf16", CHAR, True, 20, rounds),
                 TabularCase("DLRM, 26 tables x 100,000 x 16, B=2048", DLRM, 20, rounds),
                 TabularCase("flights perceptron, B=4096", FLIGHTS, 100, rounds)]
    return [case for case in all_cases if options.only in case.name]


def parse():
    parser = argparse.ArgumentParser(prog="bench/cpu/run", description=__doc__, epilog="Needs PyTorch: --install.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no torch.compile where it takes minutes")
    parser.add_argument("--smoke", action="store_true", help="Freshet alone, as small as it gets: does the benchmark work?")
    parser.add_argument("--install", action="store_true", help=f"install the newest PyTorch from PyPI into {TORCH} first")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this text")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "build/cpu/bin", help="default: build/cpu/bin")
    return parser.parse_args()


def install_torch():
    if not (TORCH / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", TORCH], check=True)
    subprocess.run([TORCH / "bin/pip", "install", "--quiet", "--upgrade", "torch", "numpy", "pyarrow", "transformers", "onnxruntime"], check=True)


def torch_variants(options, case):
    """(name, threads, compiled) of each way to run PyTorch."""
    eager_only = isinstance(case, TabularCase) or (options.quick and case.config is GPT2)
    compiled = [False] if eager_only else [False, True]
    counts = sorted({1, os.cpu_count()})
    return [(f"torch {'compiled' if c else 'eager'}, {threads} thread{'s' if threads > 1 else ''}", threads, c)
            for c in compiled for threads in counts]


def fastest_torch(options, case, directory, trials):
    """Each variant alone, warmed up; the fastest goes on into the comparison. `trials` receives what each of them made."""
    best, seconds = None, {}
    for name, threads, compiled in torch_variants(options, case):
        trainee = Trainee(name, case.torch_command(directory, threads, compiled), threads)
        try:
            trainee.steps(case.WARM_UP_STEPS)
            trainee.steps(max(2, case.steps))
            seconds[name] = trainee.seconds()
        finally:
            trainee.stop()
        trials.append(f"{case.name}: {name}: {case.tokens / seconds[name]:.0f} tokens/s")
        print(f"  {trials[-1]}", file=sys.stderr, flush=True)
        if best is None or seconds[name] < seconds[best[0]]:
            best = (name, threads, compiled)
    return best


def check_losses(case, ours, theirs):
    worst = max(abs(a - b) / b for a, b in zip(ours.losses(), theirs.losses()))
    print(f"  {case.name}: losses of {len(theirs.losses())} steps, ours {ours.losses()[0]:.5f} to {ours.losses()[-1]:.5f}, "
          f"PyTorch's {theirs.losses()[0]:.5f} to {theirs.losses()[-1]:.5f}, {worst:.1e} apart at most", file=sys.stderr,
          flush=True)
    if not worst <= LOSS_TOLERANCE[case.bfloat16]:
        raise RuntimeError(f"{case.name}: the losses are {worst:.1e} apart: no rate is worth printing")
    return worst


def measure(options, case, directory, rows, trials):
    subprocess.run([str(part) for part in case.prepare_command(options, directory)], check=True)
    variant = None if options.smoke else fastest_torch(options, case, directory, trials)
    threads = os.cpu_count()
    ours = Trainee("Freshet", case.our_command(options, directory, threads), threads)
    trainees = [ours]
    try:
        if variant:
            trainees.append(Trainee(variant[0], case.torch_command(directory, variant[1], variant[2]), variant[1]))
        for trainee in trainees:
            trainee.steps(case.WARM_UP_STEPS)
        for _ in range(case.rounds):
            for trainee in trainees:
                trainee.steps(case.steps)
        rate = case.tokens / ours.seconds()
        if not variant:
            rows.append((case.name, f"{rate:.0f}", "-", f"{ours.cpu_seconds():.3f}", "-", f"{ours.peak_mib()}", "-", "-", ""))
            return
        theirs = trainees[1]
        apart = check_losses(case, ours, theirs)
        their_rate = case.tokens / theirs.seconds()
        rows.append((case.name, f"{rate:.0f}", f"{their_rate:.0f} ({theirs.name} of {theirs.version})",
                     f"{ours.cpu_seconds():.3f}", f"{theirs.cpu_seconds():.3f}", f"{ours.peak_mib()}", f"{theirs.peak_mib()}",
                     f"{apart:.1e}", f"{rate / their_rate:.2f} x; core-seconds {theirs.cpu_seconds() / ours.cpu_seconds():.2f} x; "
                     f"memory {ours.peak_mib() / theirs.peak_mib():.2f}"))
    finally:
        for trainee in trainees:
            trainee.stop()


class TableCase:
    """The flights model, from Parquet files to the end of a pass. `last`: of the days, which are a file each."""

    MICRO_BATCH, MICRO_BATCHES = 512, 8
    bfloat16 = False

    def __init__(self, name, last, rounds):
        self.name, self.last, self.rounds = name, last, rounds


def table_cases(options):
    if options.smoke:
        return [TableCase("flights, Parquet to one pass", "2001-01-02", 1)]
    case = (TableCase("flights, Parquet to one pass", "2001-01-14", 3) if options.quick else
            TableCase("flights, Parquet to one pass", "2001-02-28", 5))
    return [case] if options.only in case.name else []


def table_trainee(options, directory, variant=None):
    """Freshet on all cores, or PyTorch with (threads, workers of its DataLoader)."""
    files = ["--data", directory / "days", "--weights", directory / "weights", "--order", directory / "order"]
    if variant is None:
        threads = os.cpu_count()
        return Trainee("Freshet", [options.binaries / "table_train", "--threads", threads, *files], threads)
    threads, workers = variant
    name = f"torch, {threads} thread{'s' if threads > 1 else ''}, {workers} worker{'' if workers == 1 else 's'}"
    return Trainee(name, [TORCH / "bin/python", ROOT / "bench/cpu/torch_table.py", "--threads", threads, "--workers", workers,
                          "--batch", TableCase.MICRO_BATCH * TableCase.MICRO_BATCHES, *files], threads)


def prepare_tables(options, last, directory):
    subprocess.run([ROOT / "scripts/flights_partitions", "--to", last, "--out", directory / "days"], check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run([options.binaries / "table_train", "--prepare", "--data", directory / "days", "--weights",
                    directory / "weights", "--order", directory / "order"], check=True)


def fastest_loader(options):
    """Each way to load with PyTorch, alone, on two days."""
    seconds = {}
    with tempfile.TemporaryDirectory(prefix="freshet-cpu-bench.") as directory:
        prepare_tables(options, "2001-01-02", pathlib.Path(directory))
        for variant in [(threads, workers) for threads in sorted({1, os.cpu_count()}) for workers in (0, 1, 2)]:
            trainee = table_trainee(options, pathlib.Path(directory), variant)
            try:
                results = [trainee.steps(1) for _ in range(2)]
                seconds[variant] = results[-1]["seconds"][0]
            finally:
                trainee.stop()
            print(f"  {trainee.name}: {results[-1]['rows'] / seconds[variant]:.0f} rows/s", file=sys.stderr, flush=True)
    return min(seconds, key=seconds.get)


def measure_tables(options, case, rows):
    variants = [None] if options.smoke else [None, fastest_loader(options)]
    with tempfile.TemporaryDirectory(prefix="freshet-cpu-bench.") as name:
        directory = pathlib.Path(name)
        prepare_tables(options, case.last, directory)
        trainees = []
        try:
            trainees += [table_trainee(options, directory, variant) for variant in variants]
            for _ in range(1 + case.rounds):
                for trainee in trainees:
                    trainee.steps(1)
        finally:
            for trainee in trainees:
                trainee.stop()
    ours, count = trainees[0], trainees[0].results[0]["rows"]
    rate = count / ours.seconds()
    row = [f"{case.name} of {count} rows", f"{rate:.0f}"]
    if options.smoke:
        rows.append((*row, "-", f"{ours.cpu_seconds():.3f}", "-", f"{ours.peak_mib()}", "-", "-", ""))
        return
    theirs = trainees[1]
    their_rate = count / theirs.seconds()
    apart = check_losses(case, ours, theirs)
    rows.append((*row, f"{their_rate:.0f} ({theirs.name} of {theirs.version})", f"{ours.cpu_seconds():.3f}",
                 f"{theirs.cpu_seconds():.3f}", f"{ours.peak_mib()}", f"{theirs.peak_mib()}", f"{apart:.1e}",
                 f"{rate / their_rate:.2f} x; core-seconds {theirs.cpu_seconds() / ours.cpu_seconds():.2f} x; "
                 f"memory {ours.peak_mib() / theirs.peak_mib():.2f}"))


def describe(options):
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout
    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    size = "--quick" if options.quick else "--smoke" if options.smoke else ""
    return (f"command: bench/cpu/run {size}\ncommit: {commit.strip()}\ndate: {datetime.date.today()}\n"
            f"machine: {os.cpu_count()} cores, {model}; load average before: {os.getloadavg()[0]:.1f}\n")


def main():
    options = parse()
    if options.install:
        install_torch()
    if not options.smoke and not (TORCH / "bin/python").exists():
        sys.exit(f"bench/cpu/run: PyTorch is not installed in {TORCH}: run it with --install")
    print(describe(options), flush=True)
    rows, trials, began = [], [], time.monotonic()
    for case in cases(options):
        with tempfile.TemporaryDirectory(prefix="freshet-cpu-bench.") as directory:
            measure(options, case, pathlib.Path(directory), rows, trials)
    for case in table_cases(options):
        measure_tables(options, case, rows)
    print("| what | tokens or rows/s | PyTorch's | core-seconds a step or pass | PyTorch's | peak MiB | PyTorch's | losses apart | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    if trials:
        print("\nPyTorch's first trials, each alone:\n" + "\n".join(f"- {trial}" for trial in trials))
    if "checkpoints".startswith(options.only) or "all-reduce".startswith(options.only):
        state.print_table(state.measure(options))
    print(f"\n{time.monotonic() - began:.0f} s, load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
