"""What bench/gpu/run has to show, and the table of it. A row of results is a dictionary with `goal` (a key below; rows with
another key come after those of the table) and any of `value`, `ours`, `theirs`, `note`."""

# (key, what, must, aim, unit of the value). A goal whose aim is below its must is better the smaller it is; one without them is a
# fact.
GOALS = [
    ("tests", "tests of kernels and training on this GPU", None, None, ""),
    ("losses", "10 losses, largest distance from PyTorch's", 0.01, 0.001, "relative"),
    ("gradients", "gradients' distance from float32, over that of PyTorch's bfloat16", 1.5, 1.0, "x"),
    ("copy", "ceiling: large copy", None, None, "GB/s"),
    ("product", "ceiling: large bfloat16 product", None, None, "TFLOP/s"),
    ("124M B=64", "GPT-2 124M, B=64 T=1024 bf16, tokens/s over torch.compile", 1.05, 1.25, "x"),
    ("mfu 124M", "MFU of 124M", 42, 52, "%"),
    ("mfu 350M", "MFU of 350M", 46, 54, "%"),
    ("mfu 774M", "MFU of 774M", 50, 57, "%"),
    ("mfu 1558M", "MFU of 1558M", 53, 59, "%"),
    ("124M B=4", "124M at B=4, tokens/s over torch.compile", 1.2, 2, "x"),
    ("host", "host time over GPU time of a step at B=4", 20, 2, "%"),
    ("attention forward", "attention forward, head 64, T=1024, over flash SDPA", 0.9, 1.25, "x"),
    ("attention backward", "attention backward, over flash SDPA", 0.8, 1.15, "x"),
    ("memory-bound", "memory-bound kernels, the slowest's share of the copy", 75, 93, "%"),
    ("peak memory", "peak memory at 124M B=64 over PyTorch's", 0.9, 0.6, "x"),
    ("determinism", "cost of bitwise determinism", 5, 0, "%"),
    ("fp8", "fp8 over own bf16 at 1558M, tokens/s", 1.10, 1.30, "x"),
    ("embedding", "26 tables, Zipf, forward, backward, AdaGrad, over nn.EmbeddingBag sparse", 8, 25, "x"),
    ("dlrm", "DLRM-DCNv2 step over torch.compile", 1.5, 4, "x"),
    ("snapshot", "snapshot to host memory every step: throughput lost", 3.5, 1, "%"),
    ("ranks", "2 ranks on this GPU over local: same bits as 1", None, None, ""),
    ("nccl", "2 ranks over NCCL", None, None, ""),
    ("sanitizer", "compute-sanitizer on a selection of the tests", None, None, ""),
]


def number(value):
    return value if isinstance(value, str) else f"{value:.4g}"


def verdict(value, must, aim):
    if must is None or isinstance(value, str):
        return ""
    reached = (lambda limit: value <= limit) if aim < must else (lambda limit: value >= limit)
    return "aim" if reached(aim) else "must" if reached(must) else "**missed**"


def table(rows, reasons):
    """`reasons`: for each goal that has no row, why."""
    lines = ["| what | value | must / aim | reached | ours | PyTorch's | note |", "|---|---|---|---|---|---|---|"]
    last = {row["goal"]: row for row in rows}
    for key, what, must, aim, unit in GOALS:
        limits = "" if must is None else f"{must:g} / {aim:g}"
        row = last.get(key)
        if row is None:
            lines.append(f"| {what} | not measured | {limits} | | | | {reasons.get(key, 'nothing measures it yet')} |")
            continue
        value = number(row["value"])
        lines.append(f"| {what} | {value} {unit if not isinstance(row['value'], str) else ''} | {limits} | "
                     f"{verdict(row['value'], must, aim)} | {row.get('ours', '')} | {row.get('theirs', '')} | "
                     f"{row.get('note', '')} |")
    return lines


def more(rows):
    known = {key for key, *_ in GOALS}
    others = [row for row in rows if row["goal"] not in known]
    if not others:
        return []
    lines = ["", "| more | value | ours | PyTorch's | note |", "|---|---|---|---|---|"]
    for row in others:
        lines.append(f"| {row['goal']} | {number(row['value'])} | {row.get('ours', '')} | {row.get('theirs', '')} | "
                     f"{row.get('note', '')} |")
    return lines
