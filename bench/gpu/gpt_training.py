"""Training a gpt beside PyTorch, from the same weights and batches: losses first, then rates."""

import json
import math
import pathlib
import statistics

import shapes
from section import FAILURES, close, in_turns

HERE = pathlib.Path(__file__).resolve().parent
LOSS_TOLERANCE = 1e-2


def prepared(section, size, batch=None, steps=16):
    """The configuration, and flags that name weights and batches, which are written first; all batches of a size share weights."""
    config = shapes.gpt(section.options, size, batch)
    weights, batches = section.work / f"{size}.weights", section.work / f"{size}-{config['batch']}.batches"
    if not batches.exists():
        section.program("gpt_train_gpu")
        command = shapes.gpt_train(section.options, config, "--prepare", "--steps", steps, "--batches", batches)
        section.run([*command, *([] if weights.exists() else ["--weights", weights])])
    return config, ["--weights", weights, "--batches", batches]


def tuned(section, config, *flags):
    """Flags that name the table of products, which is tuned first."""
    path = section.work / f"products-{config['width']}-{config['batch']}{''.join(flags)}"
    if not path.exists():
        section.program("gpt_train_gpu")
        section.run(shapes.gpt_train(section.options, config, *flags, "--tune", path))
        section.write(products=path.read_text(), config=config)
    return ["--products", path]


def our_gpt(section, config, *flags, steps=2):
    """Ours, after its first steps."""

    def start(safe):
        try:
            products = tuned(section, config, *[flag for flag in flags if flag == "--float8"], *safe)
        except FAILURES:
            if not safe:
                raise
            products = []  # the library's first proposals
        trainee = section.ours(shapes.gpt_train(section.options, config, *flags, *safe, *products))
        try:
            trainee.steps(steps)
            if not all(map(math.isfinite, trainee.losses())):
                raise RuntimeError("a loss of ours is no number")
        except BaseException:
            close([trainee])
            raise
        return trainee

    return section.safely(start)


def tokens_per_second(config, trainee):
    return shapes.tokens(config) / trainee.seconds()


def speed(config, trainee):
    safe = ", --safe" if trainee.name.endswith("--safe") else ""
    return f"{tokens_per_second(config, trainee):.0f} tokens/s, {1e3 * trainee.seconds():.4g} ms{safe}"


def apart(ours, theirs):
    """Of the first ten losses; NaN where one is, which max() would pass over."""
    distances = [abs(a - b) / abs(b) for a, b in zip(ours.losses()[:10], theirs.losses()[:10])]
    return math.nan if any(map(math.isnan, distances)) else max(distances)


def compare_gradients(section, config, files):
    """Ours of the first batch, against float32 and beside PyTorch's bfloat16."""
    gradient = section.work / "gradient"

    def write_ours(safe):
        ours = section.ours(shapes.gpt_train(section.options, config, *files, *safe))
        try:
            ours.say(f"gradient {gradient}")
        finally:
            close([ours])

    section.safely(write_ours)
    command = [section.options.python, HERE / "torch_gradients.py", "--config", json.dumps(config), *files, "--gradient", gradient,
               *shapes.device(section.options)]
    found = json.loads(section.run(command).splitlines()[-1])
    section.row("gradients", found["ratio"], ours=f"{found['ours']:.2e}", theirs=f"{found['theirs']:.2e}",
                note=f"norm of the difference over the norm, all tensors; worst tensor {found['worst']}: {found['worst_ratio']:.3g} x")


def trial(section, config, files, way):
    """PyTorch's, running, after some steps; None, and a row that says why, when it fails."""
    name, compiled, flags = way
    goal = f"PyTorch's trial: {name}, B={config['batch']}"

    def start(attention):
        trainee = section.torch(name, shapes.torch_gpt(section.options, config, compiled, *files, *flags, *attention))
        try:
            for steps in (5, 5):
                trainee.steps(steps)
        except BaseException:
            close([trainee])
            raise
        return trainee

    trainee = section.raised(f"{goal}, cuDNN's attention", lambda: start([])) or section.raised(goal, lambda: start(shapes.FLASH))
    if trainee:
        section.row(goal, f"{shapes.tokens(config) / trainee.seconds():.0f} tokens/s",
                    theirs=f"{1e3 * trainee.seconds():.4g} ms, {trainee.results[-1].get('peak_mib', 0)} MiB")
    return trainee


def trials(section, config, files, ways, together):
    """[(way, running)] of PyTorch's ways that work; of those after the first only what had compiled in time. Eager when none works.
    Not `together`: each is ended before the next begins."""
    found = []
    for way in ways:
        if way != ways[0] and not section.options.rehearse and not section.warmed(way[0]):
            section.row(f"PyTorch's trial: {way[0]}, B={config['batch']}", "left out", note="it had not compiled in time")
            continue
        if not together:
            close(each for _, each in found)
        trainee = trial(section, config, files, way)
        found += [(way, trainee)] if trainee else []
    if not found:
        trainee = trial(section, config, files, shapes.EAGER)
        found += [(shapes.EAGER, trainee)] if trainee else []
    return found


def fastest(section, config, files, ways):
    """Of the ways of PyTorch's, each alone, since two of them do not fit beside ours: the first, whose losses are wanted, and the
    fastest, running."""
    found = trials(section, config, files, ways, together=False)
    if not found:
        return None, None
    way, best = min(found, key=lambda each: each[1].seconds())
    if best.process.poll() is not None:
        close(each for _, each in found)
        best = trial(section, config, files, way)
    return found[0][1], best


def over_compiled(ratio, peer):
    """The value of a goal that is over torch.compile: text, which has no verdict, where only eager works."""
    return f"{ratio:.3g} x eager" if peer.name == shapes.EAGER[0] else ratio


def gpt(section):
    config, files = prepared(section, "124M")
    ours, best = our_gpt(section, config, *files, steps=10), None
    try:
        # In case nothing comes of PyTorch.
        ours.steps(4)
        own = shapes.mfu(config, tokens_per_second(config, ours))
        section.row("mfu 124M", f"{own:.3g} %, losses not compared", ours=speed(config, ours))
        first, best = fastest(section, config, files, shapes.torch_ways(section.options)) if section.has_torch else (None, None)
        if first and not apart(ours, first) <= LOSS_TOLERANCE and not section.is_safe():
            section.make_safe(f"losses of 124M are {apart(ours, first):.1e} from PyTorch's")
            close([ours])
            ours = our_gpt(section, config, *files, steps=10)
        if first:
            section.row("losses", apart(ours, first), ours=f"{ours.losses()[0]:.5f} to {ours.losses()[9]:.5f}",
                        theirs=f"{first.losses()[0]:.5f} to {first.losses()[9]:.5f} ({first.name})")
        if section.has_torch:
            section.raised("gradients", lambda: compare_gradients(section, *prepared(section, "124M", 4)))
        if first and not apart(ours, first) <= LOSS_TOLERANCE:
            raise RuntimeError("the losses are too far apart: no rate is worth printing")
        trainees = [trainee for trainee in (ours, best) if trainee]
        for trainee in trainees:
            trainee.results.clear()
        in_turns(trainees, section.rounds, 2 if section.options.rehearse else 4)
        mfu_row(section, "124M", config, ours)
        if best:
            section.row("124M B=64", over_compiled(best.seconds() / ours.seconds(), best), ours=speed(config, ours),
                        theirs=speed(config, best), note=f"PyTorch: {best.name}")
            section.row("peak memory", ours.peak_mib() / best.peak_mib(), ours=f"{ours.peak_mib()} MiB",
                        theirs=f"{best.peak_mib()} MiB allocated, {best.results[-1].get('reserved_mib', '-')} reserved")
    finally:
        close([trainee for trainee in (ours, best) if trainee])


def mfu_row(section, size, config, ours, note=""):
    own, product = tokens_per_second(config, ours), section.ceilings()["product"]
    share = f"; {100 * own * shapes.operations_per_token(config) / 1e12 / product:.1f} % of the product's ceiling" if product else ""
    section.row(f"mfu {size}", shapes.mfu(config, own), ours=speed(config, ours), note=f"B={config['batch']}{share}{note}")


def small_batch(section):
    config, files = prepared(section, "124M", 4)
    count = 2 if section.options.rehearse else 20
    ours, peers = our_gpt(section, config, *files, steps=10), []
    distances = {}
    try:
        in_turns([ours], section.rounds, count)
        host = statistics.median(each for result in ours.results[1:] for each in result["host_seconds"])
        section.row("host", 100 * host / ours.seconds(), ours=f"{1e6 * host:.4g} us of {1e3 * ours.seconds():.4g} ms")
        if section.has_torch:
            peers = [peer for _, peer in trials(section, config, files, shapes.small_batch_ways(section.options), together=True)]
        distances = {peer.name: apart(ours, peer) for peer in peers}
        for trainee in [ours, *peers]:
            trainee.results.clear()
        in_turns([ours, *peers], section.rounds if peers else 0, count)
        peers.sort(key=lambda peer: peer.seconds())
        for peer in peers:
            ratio = peer.seconds() / ours.seconds()
            is_fastest = peer is peers[0]
            section.row("124M B=4" if is_fastest else f"124M at B=4 over {peer.name}",
                        over_compiled(ratio, peer) if is_fastest else f"{ratio:.3g} x", ours=speed(config, ours),
                        theirs=speed(config, peer), note=f"PyTorch: {peer.name}; losses {distances[peer.name]:.1e} apart")
    finally:
        close([ours, *peers])


def trained(section, config, *flags):
    """Ours, after all its steps; ended."""
    trainee = our_gpt(section, config, *flags)
    try:
        in_turns([trainee], section.rounds, 2 if section.options.rehearse else 3)
    finally:
        close([trainee])
    return trainee


def large(section, size):
    """The largest in 8-bit floats, too, one after the other, since the two fill the memory: the speed counts only with losses as
    good as those of bfloat16."""
    config = shapes.gpt(section.options, size)
    wide = trained(section, config)
    mfu_row(section, size, config, wide, "; weights drawn anew")
    if size != "1558M":
        return
    narrow = trained(section, config, "--float8")
    distance = abs(narrow.losses()[-1] - wide.losses()[-1]) / wide.losses()[-1]
    ratio = wide.seconds() / narrow.seconds()
    section.row("fp8", ratio if distance <= 0.005 else f"**{ratio:.3g} x, but losses not within 0.5 %**", ours=speed(config, narrow),
                note=f"bf16: {speed(config, wide)}; losses after {len(wide.losses())} steps {100 * distance:.2g} % apart")


def snapshot(section):
    config, files = prepared(section, "124M")
    trainees = []
    try:
        for more in ([], ["--snapshot"]):
            trainees.append(our_gpt(section, config, *files, *more))
        in_turns(trainees, section.rounds, 2 if section.options.rehearse else 4)
        plain, saving = trainees
        section.row("snapshot", 100 * (1 - plain.seconds() / saving.seconds()), ours=speed(config, saving),
                    note=f"without: {speed(config, plain)}; B={config['batch']}")
        # There is no other mode to be compared with; that this one is deterministic is what can be seen.
        same = plain.losses() == saving.losses()
        section.row("determinism", 0.0 if same else "**other losses**",
                    note=f"the only mode; {len(plain.losses())} losses of two processes {'are the same' if same else 'differ'}")
    finally:
        close(trainees)
