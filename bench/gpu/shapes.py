"""What bench/gpu/run trains and how it starts the programs that do: sizes, ours, PyTorch's ways."""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from models import GPT2, flags, parameters  # noqa: E402

NOTES = ("MFU counts 6 N + 6 L C T floating-point operations a token against 989 TFLOP/s. Ours has one mode, whose bits are the same "
         "every time. PyTorch's figure is that of its fastest way unless a name is given; its other trials are in the second table.")
PEAK_FLOPS = 989e12

BATCH = {"124M": 64, "350M": 64, "774M": 32, "1558M": 32}  # the larger ones as much as an H200 holds, about
TRAINING = dict(learning_rate=1e-4, weight_decay=0.1, clip_norm=1.0)

# MLPerf's DLRM-DCNv2 with one code a feature and fewer rows a table.
EMBEDDING = dict(tables=26, codes=1_000_000, dim=128, batch=16384, batches=4, bound=0.05, adagrad_learning_rate=0.005)
DLRM = dict(EMBEDDING, codes=2_000_000, batch=8192, batches=8, numeric=13, numeric_layers=[512, 256, 128], cross_layers=3,
            cross_rank=512, hidden=[1024, 1024, 512, 256], learning_rate=1e-3)
TINY_EMBEDDING = dict(EMBEDDING, tables=3, codes=50, dim=16, batch=16, batches=2)
TINY_DLRM = dict(DLRM, tables=3, codes=50, dim=16, batch=16, batches=2, numeric=4, numeric_layers=[16, 16], cross_layers=2,
                 cross_rank=16, hidden=[16, 16])


def gpt(options, size, batch=None):
    """The configuration of a size; a rehearsal has one."""
    if options.rehearse:
        return dict(layers=2, heads=1, width=64, context=32, vocabulary=203, batch=2, length=32, **TRAINING)
    return dict(GPT2[size], batch=batch or BATCH[size], length=1024, **TRAINING)


def tokens(config):
    return config["batch"] * config["length"]


def operations_per_token(config):
    return 6 * parameters(config) + 6 * config["layers"] * config["width"] * config["length"]


def mfu(config, tokens_per_second):
    """Percent."""
    return 100 * tokens_per_second * operations_per_token(config) / PEAK_FLOPS


def gpt_train(options, config, *more):
    return [pathlib.Path(options.binaries) / "gpt_train_gpu", *flags(config), *more]


def device(options):
    return ["--device", "cpu"] if options.rehearse else []


def torch_gpt(options, config, compiled, *more):
    return [options.python, HERE.parent / "torch_gpt.py", "--filled", "--config", json.dumps(config), "--compile",
            "no" if options.rehearse else compiled, *device(options), *more]


def recommender(options, part):
    """The configuration of "embedding" or "step"."""
    return {"embedding": (EMBEDDING, TINY_EMBEDDING), "step": (DLRM, TINY_DLRM)}[part][options.rehearse]


def torch_recommender(options, part, folder):
    return [options.python, HERE / "torch_recommender.py", folder, "--part", part, "--config", json.dumps(recommender(options, part)),
            *device(options), *([] if options.rehearse else ["--compile"])]


# How PyTorch is tried at B=64: (name, --compile, more flags). The first is the one whose losses are compared; the others are only
# tried when their compilation ended beside the tests.
def torch_ways(options):
    pure = ("compiled, bf16 weights", "default", ["--precision", "pure"])
    return [("compiled, autocast", "default", [])] + ([] if options.quick else [pure])


# Tried when a way does not work as it is: compiled models do not reach each of cuDNN's layouts.
FLASH = ["--attention", "flash"]
# Tried when none of the ways works: torch.compile needs a C compiler and Python's headers.
EAGER = ("eager, autocast", "no", [])


def small_batch_ways(options):
    return [("torch.compile", "default", [])] + ([] if options.quick else [("reduce-overhead", "reduce-overhead", [])])


def warm_ups(options):
    """Two lanes of (name, command): the large batches need most of the memory, one at a time."""
    if options.rehearse:
        return []
    large, small = gpt(options, "124M"), gpt(options, "124M", 4)
    lanes = [[(name, torch_gpt(options, large, compiled, *more)) for name, compiled, more in torch_ways(options)],
             [(name, torch_gpt(options, small, compiled, *more)) for name, compiled, more in small_batch_ways(options)]]
    return lanes
