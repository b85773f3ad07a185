"""The ceilings of this GPU, and our kernels, one by one, as shares of them or beside PyTorch's."""

import math
import pathlib
import statistics

import shapes
from section import close

HERE = pathlib.Path(__file__).resolve().parent
# Groups with kernels that --safe does without.
FAST = ("ceiling", "attention", "product")


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
    return section.safely(lambda safe: time_kernels(section, groups, with_torch, safe))


def time_kernels(section, groups, with_torch, safe):
    tiny = ["--tiny"] if section.options.rehearse else []
    trainees = [section.ours([section.program("kernels_bench_gpu"), *tiny, *safe], 60 if "product" in groups else 25)]
    answers = [{group: [] for group in groups} for _ in range(2)]
    try:
        if with_torch and section.has_torch:
            command = [section.options.python, HERE / "torch_kernels.py", *shapes.device(section.options)]
            peer = section.raised("PyTorch's kernels", lambda: section.torch("PyTorch", command))
            trainees += [peer] if peer else []
        for _ in range(section.rounds):
            for group in groups:
                answers[0][group].append(trainees[0].say(group))
                for peer in trainees[1:]:
                    answer = section.raised("PyTorch's kernels", lambda: peer.say(group))
                    answers[1][group] += [answer] if answer else []
    finally:
        close(trainees)
    broken = [result["error"] for group in groups if group in FAST for each in answers[0][group] for result in each["results"]
              if "error" in result]
    if broken and not safe:
        raise RuntimeError(broken[0])
    ours, theirs = ({group: medians(rounds) for group, rounds in answer.items()} for answer in answers)
    section.write(kernels=[[*group.values()] for each in (ours, theirs) for group in each.values()])
    return ours, theirs


def rate(result, what):
    """GB/s of "bytes", TFLOP/s of "operations"."""
    return result[what] / result["microseconds"] / (1e3 if what == "bytes" else 1e6)


def rates(results, what):
    return [rate(result, what) for result in results.values() if "microseconds" in result and result[what]]


def ceilings(section):
    ours, theirs = kernels(section, ["copy", "ceiling"])
    best = {}
    for goal, group, what in (("copy", "copy", "bytes"), ("product", "ceiling", "operations")):
        own, peer = rates(ours[group], what), rates(theirs[group], what)
        errors = "; ".join(result["error"] for result in ours[group].values() if "error" in result)
        if own or peer:
            best[goal] = max(own + peer)
            section.row(goal, best[goal], ours=f"{own[0]:.4g}" if own else "failed", theirs=f"{peer[0]:.4g}" if peer else "", note=errors)
    section.save_ceilings(best)


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
    copy = section.ceilings()["copy"] or max(rates(ours["copy"], "bytes"), default=None)
    shares = {}
    for (name, shape), result in ours["memory"].items():
        if "error" in result:
            section.row(name, "failed", note=f"{shape}: {result['error']}")
            continue
        shares[name] = 100 * rate(result, "bytes") / copy
        section.row(name, f"{shares[name]:.0f} % of the copy", ours=f"{result['microseconds']:.4g} us, {rate(result, 'bytes'):.0f} GB/s",
                    note=shape)
    # Versions that are there to be compared with don't count.
    counted = {name: share for name, share in shares.items() if "version 1" not in name}
    if counted:
        worst = min(counted, key=counted.get)
        mean = math.exp(statistics.mean(math.log(share) for share in counted.values()))
        section.row("memory-bound", counted[worst], note=f"{worst}; geometric mean of {len(counted)}: {mean:.0f} %")


def products(section):
    found, _ = kernels(section, ["product"], with_torch=False)
    ceiling = section.ceilings()["product"]
    for (name, shape), result in found["product"].items():
        if "error" in result:
            section.row(f"product, {name}", "failed", note=result["error"])
        else:
            share = f"; {100 * rate(result, 'operations') / ceiling:.0f} % of the ceiling" if ceiling else ""
            section.row(f"product, {name}", f"{rate(result, 'operations'):.0f} TFLOP/s", ours=f"{result['microseconds']:.4g} us",
                        note=shape + share)
