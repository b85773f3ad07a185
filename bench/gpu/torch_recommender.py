"""What recommender_bench is compared with, on the files that its `prepare` writes (recommender_bench.cc says what is in them).
`--part embedding`: a table a feature, nn.EmbeddingBag with sparse gradients and torch.optim.Adagrad, forward, backward and update;
its loss is that of the first step only, since Adagrad is elementwise and ours row-wise. `--part step`: a training step of a
recommender (the DCNv2 of MLPerf's DLRM) with one EmbeddingBag over all tables, row-wise AdaGrad, torch.compile for everything
dense, bfloat16 by autocast and fused AdamW. bench/gpu/main.py asks for a number of steps a line."""

import argparse
import json
import pathlib
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from tabular_modules import RowwiseAdagrad, perceptron  # noqa: E402
from torch_turns import serve_steps  # noqa: E402

GRADIENT_ARRAY = 1000


def hashed(count, array, bound, device):
    """The formula of hashed.h."""
    x = torch.arange(count, dtype=torch.int64, device=device).mul_(0x9E3779B1).add_(array * 0x85EBCA77).bitwise_and_(0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x.bitwise_xor_(x >> shift).mul_(factor).bitwise_and_(0xFFFFFFFF)
    x.bitwise_xor_(x >> 16)
    return ((x >> 8).float() * 2.0 ** -23 - 1) * bound


def read(folder, name, dtype, *shape):
    return torch.from_numpy(numpy.fromfile(folder / name, dtype=dtype).reshape(shape))


def read_codes(config, folder, device):
    shape = config["batches"], config["tables"], config["batch"]
    return read(folder, "codes.i32", numpy.int32, *shape).to(device)


class Embedding:
    """The tables alone."""

    def __init__(self, config, folder, device):
        codes, dim, tables = config["codes"], config["dim"], config["tables"]
        self.bags = nn.ModuleList()
        for table in range(tables):
            weight = hashed(codes * dim, table, config["bound"], device).view(codes, dim)
            self.bags.append(nn.EmbeddingBag.from_pretrained(weight, freeze=False, mode="sum", sparse=True))
        self.optimizer = torch.optim.Adagrad(self.bags.parameters(), lr=config["adagrad_learning_rate"], eps=1e-8)
        self.batches = [[each.view(-1, 1) for each in batch] for batch in read_codes(config, folder, device)]
        gradient = hashed(config["batch"] * tables * dim, GRADIENT_ARRAY, 1, device).view(config["batch"], tables, dim)
        self.gradients = [each.contiguous() for each in gradient.unbind(1)]
        self.next = 0

    def step(self):
        codes = self.batches[self.next % len(self.batches)]
        outputs = [bag(each) for bag, each in zip(self.bags, codes)]
        torch.autograd.backward(outputs, self.gradients)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.next += 1
        if self.next > 1:
            return torch.zeros(())
        return sum((out.detach().double() * gradient.double()).sum() for out, gradient in zip(outputs, self.gradients))


class CrossLayer(nn.Module):
    """Wang et al., "DCN V2", 2021, with a matrix of low rank."""

    def __init__(self, width, rank):
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width)

    def forward(self, first, x):
        return first * self.up(self.down(x)) + x


class Dense(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["tables"] * config["dim"] + config["numeric_layers"][-1]
        self.numeric = perceptron([config["numeric"], *config["numeric_layers"]], False)
        self.cross = nn.ModuleList(CrossLayer(width, config["cross_rank"]) for _ in range(config["cross_layers"]))
        self.hidden = perceptron([width, *config["hidden"], 1], True)

    def forward(self, numeric, looked_up, label):
        first = x = torch.cat([looked_up, self.numeric(numeric)], 1)
        for layer in self.cross:
            x = layer(first, x)
        return functional.binary_cross_entropy_with_logits(self.hidden(x).squeeze(1).float(), label)

    def load(self, folder):
        modules = {f"numeric.{i}": layer for i, layer in enumerate(self.numeric[::2])}
        modules |= {f"layers.{i}": layer for i, layer in enumerate(self.hidden[::2])}
        modules["output"] = modules.pop(f"layers.{len(self.hidden[::2]) - 1}")
        for i, layer in enumerate(self.cross):
            modules |= {f"cross.{i}.down": layer.down, f"cross.{i}.up": layer.up, f"cross.{i}": layer.up}
        values = read(folder, "dense.f32", numpy.float32, -1)
        for tensor in json.loads((folder / "dense.json").read_text()):
            name, kind = tensor["name"].rsplit(".", 1)
            begin, size = tensor["offset"], numpy.prod(tensor["shape"])
            with torch.no_grad():
                getattr(modules[name], kind).copy_(values[begin:begin + size].view(tensor["shape"]))


class Recommender:
    def __init__(self, config, folder, device, compiled):
        self.device, self.batch = device, config["batch"]
        tables, codes, dim = config["tables"], config["codes"], config["dim"]
        weight = torch.empty(tables * codes, dim, device=device)
        for table in range(tables):
            weight[table * codes:(table + 1) * codes] = hashed(codes * dim, table, config["bound"], device).view(codes, dim)
        self.bag = nn.EmbeddingBag.from_pretrained(weight, freeze=False, mode="sum", sparse=True)
        dense = Dense(config)
        dense.load(folder)
        dense.to(device)
        self.dense = torch.compile(dense) if compiled else dense
        self.tables = RowwiseAdagrad(self.bag.weight, config["adagrad_learning_rate"])
        self.optimizer = torch.optim.AdamW(dense.parameters(), lr=config["learning_rate"], weight_decay=0.0, fused=True)
        first = (torch.arange(tables) * codes).to(device)
        self.codes = [(batch.t().long() + first).reshape(-1, 1) for batch in read_codes(config, folder, device)]
        self.numeric = read(folder, "numeric.f32", numpy.float32, config["batches"], self.batch, config["numeric"]).to(device)
        self.label = read(folder, "label.f32", numpy.float32, config["batches"], self.batch).to(device)
        self.next = 0

    def step(self):
        now = self.next % len(self.codes)
        self.next += 1
        looked_up = self.bag(self.codes[now]).view(self.batch, -1)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = self.dense(self.numeric[now], looked_up, self.label[now])
        loss.backward()
        self.optimizer.step()
        self.tables.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach().clone()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="of the files")
    parser.add_argument("--config", required=True, help="JSON: recommender_bench's options")
    parser.add_argument("--part", required=True, choices=["embedding", "step"])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    config, device = json.loads(options.config), torch.device(options.device)
    torch.set_float32_matmul_precision("high")
    part = (Embedding(config, options.folder, device) if options.part == "embedding"
            else Recommender(config, options.folder, device, options.compile))
    serve_steps(device, part.step)


if __name__ == "__main__":
    main()
