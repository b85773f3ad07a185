"""What recommender_bench is compared with. `--part embedding`: a table a feature, nn.EmbeddingBag with sparse gradients and
torch.optim.Adagrad, forward, backward and update. `--part dlrm`: a whole step of DLRM-DCNv2 with one EmbeddingBag over all
tables, row-wise AdaGrad, torch.compile for everything dense, bfloat16 by autocast and fused AdamW. Codes are drawn
log-uniformly, which is Zipf's law with exponent 1. bench/gpu/main.py asks for a number of steps a line."""

import argparse
import json

import torch
from torch import nn
from torch.nn import functional

from torch_turns import serve_steps


def draw_codes(config, device, generator):
    """[batch][codes of all features], each among its table's rows."""
    count = config["batch"], sum(config["bag_sizes"])
    uniform = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
    return (torch.exp(uniform * torch.log(torch.tensor(config["rows"] + 1.0))) - 1).long().clamp(0, config["rows"] - 1)


class Embedding:
    """The tables alone."""

    def __init__(self, config, device):
        sizes, generator = config["bag_sizes"], torch.Generator(device).manual_seed(1)
        with device:
            self.bags = nn.ModuleList(nn.EmbeddingBag(config["rows"], config["dim"], mode="sum", sparse=True) for _ in sizes)
        self.optimizer = torch.optim.Adagrad(self.bags.parameters(), lr=0.005)
        self.batches = [draw_codes(config, device, generator).split(sizes, dim=1) for _ in range(config["batches"])]
        self.gradients = [torch.randn(config["batch"], config["dim"], device=device) for _ in sizes]
        self.next = 0

    def step(self):
        codes = self.batches[self.next % len(self.batches)]
        self.next += 1
        outputs = [bag(each) for bag, each in zip(self.bags, codes)]
        torch.autograd.backward(outputs, self.gradients)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return outputs[0].detach()[0, 0]


def perceptron(widths, last_is_linear):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*(layers[:-1] if last_is_linear else layers))


class CrossLayer(nn.Module):
    """Wang et al., "DCN V2", 2021, with a matrix of low rank."""

    def __init__(self, width, rank):
        super().__init__()
        self.v, self.u = nn.Linear(width, rank, bias=False), nn.Linear(rank, width)

    def forward(self, first, x):
        return first * self.u(self.v(x)) + x


class Dense(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = (len(config["bag_sizes"]) + 1) * config["dim"]
        self.numeric = perceptron([config["numeric"], *config["numeric_layers"]], False)
        self.cross = nn.ModuleList(CrossLayer(width, config["cross_rank"]) for _ in range(config["cross_layers"]))
        self.hidden = perceptron([width, *config["hidden"], 1], True)

    def forward(self, numeric, looked_up, label):
        first = x = torch.cat([self.numeric(numeric), looked_up], 1)
        for layer in self.cross:
            x = layer(first, x)
        return functional.binary_cross_entropy_with_logits(self.hidden(x).squeeze(1).float(), label)


class RowwiseAdagrad:
    def __init__(self, weight, learning_rate=0.005, epsilon=1e-8):
        self.weight, self.learning_rate, self.epsilon = weight, learning_rate, epsilon
        self.sums = torch.zeros(weight.shape[0], device=weight.device)

    @torch.no_grad()
    def step(self):
        gradient = self.weight.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        sums = self.sums[rows] + values.square().mean(1)
        self.sums[rows] = sums
        self.weight.index_add_(0, rows, values / (sums.sqrt() + self.epsilon).unsqueeze(1), alpha=-self.learning_rate)
        self.weight.grad = None


class Dlrm:
    def __init__(self, config, device, compiled):
        self.config, self.device = config, device
        sizes, generator = config["bag_sizes"], torch.Generator(device).manual_seed(1)
        with device:
            self.bag = nn.EmbeddingBag(len(sizes) * config["rows"], config["dim"], mode="sum", sparse=True)
            dense = Dense(config)
        self.dense = torch.compile(dense) if compiled else dense
        self.tables = RowwiseAdagrad(self.bag.weight)
        self.optimizer = torch.optim.AdamW(dense.parameters(), lr=1e-3, fused=True)
        first = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)) * config["rows"]
        begins = torch.cumsum(torch.tensor([0, *sizes[:-1]]), 0)
        every = torch.arange(config["batch"])[:, None] * sum(sizes)
        self.offsets = (every + begins).reshape(-1).to(device)
        self.batches = []
        for _ in range(config["batches"]):
            codes = (draw_codes(config, device, generator) + first.to(device)).reshape(-1)
            numeric = torch.rand(config["batch"], config["numeric"], generator=generator, device=device)
            label = (torch.rand(config["batch"], generator=generator, device=device) < 0.25).float()
            self.batches.append((codes, numeric, label))
        self.next = 0

    def step(self):
        codes, numeric, label = self.batches[self.next % len(self.batches)]
        self.next += 1
        looked_up = self.bag(codes, self.offsets).view(self.config["batch"], -1)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = self.dense(numeric, looked_up, label)
        loss.backward()
        self.optimizer.step()
        self.tables.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach().clone()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="JSON")
    parser.add_argument("--part", required=True, choices=["embedding", "dlrm"])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    config, device = json.loads(options.config), torch.device(options.device)
    torch.set_float32_matmul_precision("high")
    part = Embedding(config, device) if options.part == "embedding" else Dlrm(config, device, options.compile)
    serve_steps(device, part.step)


if __name__ == "__main__":
    main()
