"""The sections of bench/gpu/run, a process each: `sections.py NAME SETTINGS`. A section says what it finds as soon as it has found
it, a row a goal (goals.py), and raises what it can't go on after."""

import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import types

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
import shapes  # noqa: E402
from trainee import Trainee  # noqa: E402


class Section:
    def __init__(self, settings):
        self.options = types.SimpleNamespace(**settings["options"])
        self.work, self.raw = pathlib.Path(settings["work"]), settings["raw"]
        self.has_torch = self.options.python != "none"
        self.rounds = 1 if self.options.rehearse else 5
        self.threads = 1 if self.options.rehearse else len(os.sched_getaffinity(0))

    def write(self, **line):
        with open(self.raw, "a") as raw:
            raw.write(json.dumps(line) + "\n")

    def row(self, goal, value, **more):
        self.write(goal=goal, value=value, **more)
        print(f"  {goal}: {value} {more}", flush=True)

    def program(self, name):
        path = pathlib.Path(self.options.binaries) / name
        if not path.exists():
            raise RuntimeError(f"{path.name} is not in {path.parent}: run bench/gpu/pack")
        return path

    def ours(self, command):
        self.program(pathlib.Path(command[0]).name)
        return Trainee("Freshet", command, self.threads)

    def torch(self, name, command):
        return Trainee(name, command, self.threads)

    def warmed(self, way):
        path = self.work / "warm"
        return path.exists() and way in path.read_text().splitlines()

    def raised(self, goal, action):
        """What action() returns; None, and a row that says why, when it fails."""
        try:
            return action()
        except (RuntimeError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            self.row(goal, "failed", note=str(error).replace("|", "¦")[:300])
            return None


def in_turns(trainees, rounds, steps):
    """A/B/A/B: `steps` of each, `rounds` times; seconds of a step are those of Trainee.seconds(), the first round not counted."""
    for _ in range(rounds + 1):
        for trainee in trainees:
            trainee.steps(steps)


def close(trainees):
    for trainee in trainees:
        trainee.stop()


def percent_of(part, whole):
    return f"{100 * part / whole:.0f} %"


# --- tests

def run_tests(section, program, chosen):
    """(whether all is well, a line about it)."""
    done = subprocess.run([section.program(program), f"--gtest_filter={chosen}", "--gtest_brief=1"], capture_output=True, text=True)
    print(done.stdout[-4000:], done.stderr[-4000:], flush=True)
    passed, skipped = count(done.stdout, "PASSED"), count(done.stdout, "SKIPPED")
    names = dict.fromkeys(re.findall(r"^\[  FAILED  \] ([A-Za-z][\w./]+)", done.stdout, re.MULTILINE))
    lost = "" if done.returncode in (0, 1) else f", ended with status {done.returncode}"
    return (done.returncode == 0 and passed > 0,
            f"{program}: {passed} passed, {len(names)} failed, {skipped} skipped{lost} {', '.join(names)}".strip())


def tests(section):
    selection = json.loads((HERE / "selection.json").read_text())
    chosen = selection["rehearsal"] if section.options.rehearse else {}
    found = []
    for program in ("kernels_cuda_test", "worker_gpu_test"):
        found.append(run_tests(section, program, chosen.get(program, "*")))
        section.row("tests", "passed" if all(good for good, _ in found) else "**FAILED**", note="; ".join(text for _, text in found))
    good, text = run_tests(section, "worker_gpu_test", selection["ranks"])
    section.row("ranks", "passed" if good else "**FAILED**", note=f"{selection['ranks']}: {text}")


def count(text, word):
    match = re.search(rf"^\[  {word:<7} \] (\d+) tests?", text, re.MULTILINE)
    return int(match.group(1)) if match else 0


# --- ceilings, attention, memory-bound kernels

def medians(rounds):
    """{(name, shape): the result with the median time} of the answers of some rounds; errors stay."""
    found = {}
    for answer in rounds:
        for result in answer["results"]:
            found.setdefault((result["name"], result["shape"]), []).append(result)
    merged = {}
    for key, results in found.items():
        good = [result for result in results if "microseconds" in result]
        merged[key] = dict(good[0], microseconds=statistics.median(r["microseconds"] for r in good)) if good else results[0]
    return merged


def kernels(section, groups, with_torch=True):
    """Ours and PyTorch's times of the groups, in turns."""
    tiny = ["--tiny"] if section.options.rehearse else []
    trainees = [section.ours([section.program("kernels_bench_gpu"), *tiny])]
    if with_torch and section.has_torch:
        trainees.append(section.torch("PyTorch", [section.options.python, HERE / "torch_kernels.py", *shapes.device(section.options)]))
    answers = [{group: [] for group in groups} for _ in trainees]
    try:
        for _ in range(1 if section.options.rehearse else section.rounds):
            for group in groups:
                for trainee, answer in zip(trainees, answers):
                    answer[group].append(trainee.say(group))
    finally:
        close(trainees)
    merged = [{group: medians(rounds) for group, rounds in answer.items()} for answer in answers]
    section.write(kernels=[[{**result} for group in each.values() for result in group.values()] for each in merged])
    return merged[0], merged[1] if len(merged) > 1 else {group: {} for group in groups}


def rate(result, what):
    """GB/s of "bytes", TFLOP/s of "operations"."""
    return result[what] / result["microseconds"] / (1e3 if what == "bytes" else 1e6)


def rates(results, what):
    return [rate(result, what) for result in results.values() if "microseconds" in result and result[what]]


def save_ceilings(section, copy, product):
    (section.work / "ceilings").write_text(json.dumps(dict(copy=copy, product=product)))


def ceilings_of(section):
    path = section.work / "ceilings"
    return json.loads(path.read_text()) if path.exists() else dict(copy=None, product=None)


def ceilings(section):
    ours, theirs = kernels(section, ["copy", "ceiling"])
    best = {}
    for goal, group, what in (("copy", "copy", "bytes"), ("product", "ceiling", "operations")):
        own, peer = rates(ours[group], what), rates(theirs[group], what)
        errors = "; ".join(result["error"] for result in ours[group].values() if "error" in result)
        if own or peer:
            best[goal] = max(own + peer)
            section.row(goal, best[goal], ours=f"{own[0]:.4g}" if own else "failed", theirs=f"{peer[0]:.4g}" if peer else "", note=errors)
    save_ceilings(section, best.get("copy"), best.get("product"))


def attention(section):
    ours, theirs = kernels(section, ["attention"])
    ours, theirs = ours["attention"], theirs["attention"]
    for (name, shape), result in ours.items():
        label = f"{name.replace('_', ' ')}, {shape}"
        if "error" in result:
            section.row(label, "failed", note=result["error"])
            continue
        way = name.split("_")[1]
        head = shape.split(",")[0]
        peers = {peer.split()[0]: each for (peer, peer_shape), each in theirs.items()
                 if peer_shape == head and peer.endswith(way) and "microseconds" in each}
        text = ", ".join(f"{peer} {each['microseconds']:.4g} us ({rate(each, 'operations'):.0f} TFLOP/s)" for peer, each in peers.items())
        own = f"{result['microseconds']:.4g} us ({rate(result, 'operations'):.0f} TFLOP/s)"
        flash = peers.get("flash") or peers.get("math")
        if shape == "head 64" and flash:
            cudnn = f"over cuDNN {peers['cuDNN']['microseconds'] / result['microseconds']:.3g} x" if "cuDNN" in peers else ""
            section.row(f"attention {way}", flash["microseconds"] / result["microseconds"], ours=own, theirs=text, note=cudnn)
        else:
            section.row(label, f"{flash['microseconds'] / result['microseconds']:.3g} x" if flash else own, ours=own, theirs=text)


def memory_bound(section):
    ours, _ = kernels(section, ["copy", "memory"], with_torch=False)
    copy = ceilings_of(section)["copy"] or max(rates(ours["copy"], "bytes"), default=None)
    shares = {}
    for (name, shape), result in ours["memory"].items():
        if "error" in result:
            section.row(name, "failed", note=f"{shape}: {result['error']}")
            continue
        shares[name] = 100 * rate(result, "bytes") / copy
        section.row(name, f"{shares[name]:.0f} % of the copy", ours=f"{result['microseconds']:.4g} us, {rate(result, 'bytes'):.0f} GB/s",
                    note=shape)
    # Versions that are there to be compared with don't count, nor what moves so little that launching it takes longer.
    counted = {name: share for name, share in shares.items() if "version 1" not in name}
    if counted:
        worst = min(counted, key=counted.get)
        mean = math.exp(statistics.mean(math.log(share) for share in counted.values()))
        section.row("memory-bound", counted[worst], note=f"{worst}; geometric mean of {len(counted)}: {mean:.0f} %")
    products, _ = kernels(section, ["product"], with_torch=False)
    ceiling = ceilings_of(section)["product"]
    for (name, shape), result in products["product"].items():
        if "error" in result:
            section.row(f"product, {name}", "failed", note=result["error"])
        else:
            share = f"; {percent_of(rate(result, 'operations'), ceiling)} of the ceiling" if ceiling else ""
            section.row(f"product, {name}", f"{rate(result, 'operations'):.0f} TFLOP/s", ours=f"{result['microseconds']:.4g} us",
                        note=shape + share)


# --- training a gpt

LOSS_TOLERANCE = 1e-2


def prepared(section, size, batch=None, steps=16):
    """The configuration, and flags that name weights and batches, which are written first; all batches of a size share weights."""
    config = shapes.gpt(section.options, size, batch)
    weights, batches = section.work / f"{size}.weights", section.work / f"{size}-{config['batch']}.batches"
    if not batches.exists():
        section.program("gpt_train_gpu")
        command = shapes.gpt_train(section.options, config, "--prepare", "--steps", steps, "--batches", batches)
        subprocess.run([str(part) for part in [*command, *([] if weights.exists() else ["--weights", weights])]], check=True)
    return config, ["--weights", weights, "--batches", batches]


def tuned(section, config, *more):
    """Flags that name the table of products, which is tuned first."""
    path = section.work / f"products-{config['width']}-{config['batch']}{''.join(more)}"
    if not path.exists():
        section.program("gpt_train_gpu")
        subprocess.run([str(part) for part in shapes.gpt_train(section.options, config, *more, "--tune", path)], check=True)
        section.write(products=path.read_text(), config=config)
    return ["--products", path]


def tokens_per_second(config, trainee):
    return shapes.tokens(config) / trainee.seconds()


def speed(config, trainee):
    return f"{tokens_per_second(config, trainee):.0f} tokens/s, {1e3 * trainee.seconds():.4g} ms"


def apart(ours, theirs, count):
    """NaN where one is, which max() would pass over."""
    distances = [abs(a - b) / abs(b) for a, b in zip(ours.losses()[:count], theirs.losses()[:count])]
    return math.nan if any(map(math.isnan, distances)) else max(distances)


def compare_gradients(section, config, files):
    """Ours of the first batch, against float32 and beside PyTorch's bfloat16."""
    gradient = section.work / "gradient"
    ours = section.ours(shapes.gpt_train(section.options, config, *files))
    try:
        ours.say(f"gradient {gradient}")
    finally:
        close([ours])
    command = [section.options.python, HERE / "torch_gradients.py", "--config", json.dumps(config), *files, "--gradient", gradient,
               *shapes.device(section.options)]
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    section.row("gradients", found["ratio"], ours=f"{found['ours']:.2e}", theirs=f"{found['theirs']:.2e}",
                note=f"norm of the difference over the norm, all tensors; worst tensor {found['worst']}: {found['worst_ratio']:.3g} x")


def tried(section, config, files, ways):
    """Each way of PyTorch's that works, after a few steps; the ways after the first only when they had compiled in time. Eager
    when none works."""
    found = False
    for name, compiled, more in [*ways, shapes.EAGER]:
        if name == shapes.EAGER[0] and found:
            return
        if found and not section.options.rehearse and not section.warmed(name):
            section.row(f"PyTorch's trial: {name}, B={config['batch']}", "left out", note="it had not compiled in time")
            continue

        def trial():
            trainee = section.torch(name, shapes.torch_gpt(section.options, config, compiled, *files, *more))
            try:
                for steps in (5, 5):
                    trainee.steps(steps)
            except BaseException:
                close([trainee])
                raise
            return trainee

        trainee = section.raised(f"PyTorch's trial: {name}, B={config['batch']}", trial)
        if trainee is None:
            continue
        found = True
        seconds = trainee.seconds()
        section.row(f"PyTorch's trial: {name}, B={config['batch']}", f"{shapes.tokens(config) / seconds:.0f} tokens/s",
                    theirs=f"{1e3 * seconds:.4g} ms, {trainee.results[-1].get('peak_mib', 0)} MiB")
        yield trainee


def fastest(section, config, files, ways):
    """Of the ways of PyTorch's, each alone: the first, whose losses are wanted, and the fastest, which is left running."""
    first = best = None
    for trainee in tried(section, config, files, ways):
        first = first or trainee
        slower = trainee if best and best.seconds() <= trainee.seconds() else best
        best = trainee if slower is best else best
        close([slower] if slower else [])
    return first, best


def over_compiled(ratio, peer):
    """The value of a goal that is over torch.compile: text, which has no verdict, where only eager works."""
    return f"{ratio:.3g} x eager" if peer.name == shapes.EAGER[0] else ratio


def gpt(section):
    config, files = prepared(section, "124M")
    products = tuned(section, config)
    ours = section.ours(shapes.gpt_train(section.options, config, *files, *products))
    trainees = [ours]
    try:
        ours.steps(10)
        first, best = fastest(section, config, files, shapes.torch_ways(section.options)) if section.has_torch else (None, None)
        if first:
            trainees.append(best)
            section.row("losses", apart(ours, first, 10), ours=f"{ours.losses()[0]:.5f} to {ours.losses()[9]:.5f}",
                        theirs=f"{first.losses()[0]:.5f} to {first.losses()[9]:.5f} ({first.name})")
        if section.has_torch:
            small, small_files = prepared(section, "124M", 4)
            section.raised("gradients", lambda: compare_gradients(section, small, small_files))
        if first:
            # Without it no rate is worth printing.
            if not apart(ours, first, 10) <= LOSS_TOLERANCE:
                raise RuntimeError("the losses are too far apart: no rate is worth printing")
        for trainee in trainees:
            trainee.results.clear()
        in_turns(trainees, section.rounds, 2 if section.options.rehearse else 4)
        product = ceilings_of(section)["product"]
        own = tokens_per_second(config, ours)
        share = f"; {100 * own * shapes.operations_per_token(config) / 1e12 / product:.1f} % of the product's ceiling" if product else ""
        section.row("mfu 124M", shapes.mfu(config, own), ours=speed(config, ours), note=f"B={config['batch']}{share}")
        if best:
            theirs = trainees[1]
            section.row("124M B=64", over_compiled(own / tokens_per_second(config, theirs), theirs), ours=speed(config, ours), theirs=speed(config, theirs),
                        note=f"PyTorch: {best.name}")
            if "peak_mib" in theirs.results[-1]:
                section.row("peak memory", ours.peak_mib() / theirs.peak_mib(), ours=f"{ours.peak_mib()} MiB",
                            theirs=f"{theirs.peak_mib()} MiB allocated, {theirs.results[-1]['reserved_mib']} reserved")
        section.row("determinism", 0.0, note="by construction: ours has no other mode")
    finally:
        close(trainees)


def small_batch(section):
    config, files = prepared(section, "124M", 4)
    count = 2 if section.options.rehearse else 20
    ours, peers = section.ours(shapes.gpt_train(section.options, config, *files, *tuned(section, config))), []
    try:
        in_turns([ours], section.rounds, count)
        host = statistics.median(each for result in ours.results[1:] for each in result["host_seconds"])
        section.row("host", 100 * host / ours.seconds(), ours=f"{1e6 * host:.4g} us of {1e3 * ours.seconds():.4g} ms")
        for peer in tried(section, config, files, shapes.small_batch_ways(section.options)) if section.has_torch else []:
            peers.append(peer)
        distances = {peer.name: apart(ours, peer, 10) for peer in peers}
        for trainee in [ours, *peers]:
            trainee.results.clear()
        for _ in range(section.rounds + 1 if peers else 0):
            ours.steps(count)
            for peer in list(peers):
                if section.raised(f"124M at B=4 over {peer.name}", lambda: peer.steps(count)) is None:
                    peers.remove(peer)
                    close([peer])
        peers.sort(key=lambda peer: peer.seconds())
        for peer in peers:
            ratio = peer.seconds() / ours.seconds()
            is_fastest = peer is peers[0]
            section.row("124M B=4" if is_fastest else f"124M at B=4 over {peer.name}",
                        over_compiled(ratio, peer) if is_fastest else f"{ratio:.3g} x", ours=speed(config, ours),
                        theirs=speed(config, peer), note=f"PyTorch: {peer.name}; losses {distances[peer.name]:.1e} apart")
    finally:
        close([ours, *peers])


def large(section, size):
    config = shapes.gpt(section.options, size)
    ours = section.ours(shapes.gpt_train(section.options, config, *tuned(section, config)))
    try:
        in_turns([ours], section.rounds, 2 if section.options.rehearse else 4)
    finally:
        close([ours])
    own = tokens_per_second(config, ours)
    product = ceilings_of(section)["product"]
    share = f"; {100 * own * shapes.operations_per_token(config) / 1e12 / product:.1f} % of the product's ceiling" if product else ""
    section.row(f"mfu {size}", shapes.mfu(config, own), ours=f"{speed(config, ours)}, {ours.peak_mib()} MiB",
                note=f"B={config['batch']}{share}; random tokens")
    if not section.has_torch or section.options.quick:
        return

    # Both do not fit beside each other, so this is after ours; blocks compiled for themselves, else it takes too long.
    def peer():
        theirs = section.torch("PyTorch", shapes.torch_gpt(section.options, config, "blocks"))
        try:
            in_turns([theirs], 2, 3)
        finally:
            close([theirs])
        section.row(f"{size} over torch.compile", f"{own / tokens_per_second(config, theirs):.3g} x", ours=speed(config, ours),
                    theirs=speed(config, theirs), note="one after the other; each block compiled for itself, autocast")

    section.raised(f"{size} over torch.compile", peer)


def fp8(section):
    config = shapes.gpt(section.options, "1558M", 8)  # both beside each other
    trainees = []
    try:
        for more in ([], ["--float8"]):
            trainees.append(section.ours(shapes.gpt_train(section.options, config, *more, *tuned(section, config, *more))))
        in_turns(trainees, section.rounds, 2 if section.options.rehearse else 3)
        wide, narrow = trainees
        distance = abs(narrow.losses()[-1] - wide.losses()[-1]) / wide.losses()[-1]
        ratio = wide.seconds() / narrow.seconds()
        # The speed counts only with losses as good as those of bfloat16.
        section.row("fp8", ratio if distance <= 0.005 else f"**{ratio:.3g} x, but losses not within 0.5 %**", ours=speed(config, narrow),
                    note=f"bf16: {speed(config, wide)}; losses after {len(wide.losses())} steps {100 * distance:.2g} % apart")
    finally:
        close(trainees)


def snapshot(section):
    config, files = prepared(section, "124M")
    command = shapes.gpt_train(section.options, config, *files, *tuned(section, config))
    trainees = []
    try:
        for more in ([], ["--snapshot"]):
            trainees.append(section.ours([*command, *more]))
        in_turns(trainees, section.rounds, 2 if section.options.rehearse else 4)
        plain, saving = trainees
        section.row("snapshot", 100 * (1 - plain.seconds() / saving.seconds()), ours=speed(config, saving),
                    note=f"without: {speed(config, plain)}; B={config['batch']}")
    finally:
        close(trainees)


# --- recommenders and checks

def recommender(section):
    for goal, part, tolerance, text in (("embedding", "embedding", 1e-3, "torch.optim.Adagrad is elementwise, ours row-wise"),
                                        ("dlrm", "step", 1e-2, "one EmbeddingBag over all tables, row-wise AdaGrad, the rest compiled")):
        section.raised(goal, lambda: compare_recommenders(section, goal, part, tolerance, text))


def compare_recommenders(section, goal, part, tolerance, text):
    options, config = section.options, shapes.recommender(section.options, part)
    folder = section.work / part
    folder.mkdir()
    program = section.program("recommender_bench")
    subprocess.run([str(each) for each in [program, "prepare", folder, *shapes.flags(config)]], check=True)
    tune = ["--tune"] if part == "step" else []
    trainees = [section.ours([program, part, folder, *tune, *shapes.flags(config)])]
    try:
        losses = trainees[0].say("check 1")["losses"]
        if section.has_torch:
            trainees.append(section.torch("PyTorch", shapes.torch_recommender(options, part, folder)))
            found = trainees[1].say(1)["losses"]
            distance = abs(losses[0] - found[0]) / abs(found[0])
            if not distance <= tolerance:
                raise RuntimeError(f"the losses of the first step are {distance:.1e} apart: no rate is worth printing")
            text += f"; losses {distance:.1e} apart"
        in_turns(trainees, section.rounds, 2 if options.rehearse else 5)
    finally:
        close(trainees)
    speeds = [f"{config['batch'] / trainee.seconds():.4g} examples/s, {1e3 * trainee.seconds():.4g} ms" for trainee in trainees]
    if len(trainees) == 1:
        section.row(f"{part}, ours alone", speeds[0])
    else:
        section.row(goal, trainees[1].seconds() / trainees[0].seconds(), ours=speeds[0], theirs=speeds[1], note=text)


def sanitizer(section):
    found = []
    chosen = json.loads((HERE / "selection.json").read_text())["sanitizer"]
    checker = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    for tool in ("memcheck", "racecheck"):
        command = [checker, "--tool", tool, "--error-exitcode", "9", section.program("kernels_cuda_test"),
                   f"--gtest_filter={chosen}", "--gtest_brief=1"]
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        except FileNotFoundError:
            section.row("sanitizer", "not measured", note="there is no compute-sanitizer on this machine")
            return
        print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
        last = [line.strip("= ") for line in done.stdout.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
        passed = count(done.stdout, "PASSED")
        found.append((done.returncode == 0 and passed > 0,
                      f"{tool}, {passed} tests passed: {last[-1] if last else f'status {done.returncode}'}"))
        section.row("sanitizer", "clean" if all(good for good, _ in found) else "**errors**", note="; ".join(text for _, text in found))


def main():
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    section = Section(settings)
    if name.startswith("large_"):
        large(section, name.removeprefix("large_"))
    else:
        globals()[name](section)


if __name__ == "__main__":
    main()
