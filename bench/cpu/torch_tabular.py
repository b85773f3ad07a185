"""Tabular models in PyTorch, as its users write them: one EmbeddingBag over all tables (faster than one for each), fused AdamW,
rows in memory with whole-batch indexing. Tables under row-wise AdaGrad get sparse gradients, coalesced, as the optimizer of
the DLRM reference does it. Answers as torch_turns.py says."""

import argparse
import json
import pathlib
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from gpt_modules import read_safetensors  # noqa: E402
from tabular_modules import RowwiseAdagrad, perceptron  # noqa: E402
from torch_turns import serve_steps  # noqa: E402


class Tabular(nn.Module):
    def __init__(self, config):
        super().__init__()
        tables, dim, numeric = config["tables"], config["dim"], config["numeric"]
        self.dot, self.tables, self.dim = config["dot"], tables, dim
        self.bag = nn.EmbeddingBag(tables * config["codes"], dim, mode="sum", sparse=bool(config["rowwise_adagrad"]))
        self.register_buffer("first", torch.arange(tables) * config["codes"])
        layers = config["numeric_layers"]
        self.numeric = perceptron([numeric, *layers], False) if layers else nn.Identity()
        width = layers[-1] if layers else numeric
        if self.dot:
            self.register_buffer("pairs", torch.tril_indices(tables + 1, tables + 1, -1))
            inputs = width + self.pairs.shape[1]
        else:
            inputs = tables * dim + width
        self.hidden = perceptron([inputs, *config["hidden"], 1], True)

    def forward(self, numeric, codes):
        rows = codes.shape[0]
        looked_up = self.bag((codes + self.first).view(-1, 1)).view(rows, self.tables, self.dim)
        numeric = self.numeric(numeric)
        if not self.dot:
            return self.hidden(torch.cat([looked_up.view(rows, -1), numeric], 1)).squeeze(1)
        # Ours counts the pairs with the numeric features last, as here.
        vectors = torch.cat([looked_up, numeric.unsqueeze(1)], 1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        return self.hidden(torch.cat([numeric, products[:, self.pairs[0], self.pairs[1]]], 1)).squeeze(1)


def load_weights(model, path, config):
    tensors = dict(read_safetensors(path))
    linear = {"numeric": [m for m in model.numeric.modules() if isinstance(m, nn.Linear)],
              "layers": [m for m in model.hidden if isinstance(m, nn.Linear)]}
    with torch.no_grad():
        model.bag.weight.copy_(torch.cat([tensors[f"embedding.{t}.weight"] for t in range(config["tables"])]))
        for name, modules in linear.items():
            for i, module in enumerate(modules):
                own = "output" if name == "layers" and i + 1 == len(modules) else f"{name}.{i}"
                module.weight.copy_(tensors[own + ".weight"])
                module.bias.copy_(tensors[own + ".bias"])


class Training:
    def __init__(self, options):
        config = json.loads(options.config)
        torch.set_num_threads(options.threads)
        self.batch, numeric = config["batch"], config["numeric"]
        self.model = Tabular(config)
        load_weights(self.model, options.weights, config)
        rows = numpy.fromfile(options.data, dtype=numpy.float32).reshape(-1, 1 + numeric + config["tables"])
        self.label = torch.from_numpy(rows[:, 0].copy())
        self.values = torch.from_numpy(rows[:, 1:1 + numeric].copy())
        self.codes = torch.from_numpy(rows[:, 1 + numeric:].astype(numpy.int64))
        self.order = torch.from_numpy(numpy.fromfile(options.order, dtype=numpy.int32).astype(numpy.int64))
        tables = self.model.bag.weight
        self.tables = RowwiseAdagrad(tables) if config["rowwise_adagrad"] else None
        dense = [p for p in self.model.parameters() if p is not tables or self.tables is None]
        groups = [{"params": [p for p in dense if p.ndim > 1], "weight_decay": config["weight_decay"]},
                  {"params": [p for p in dense if p.ndim == 1], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config["learning_rate"], betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.next = 0

    def step(self):
        rows = self.order[self.next:self.next + self.batch]
        self.next = (self.next + self.batch) % len(self.order)
        loss = functional.binary_cross_entropy_with_logits(self.model(self.values[rows], self.codes[rows]), self.label[rows])
        loss.backward()
        self.optimizer.step()
        if self.tables:
            self.tables.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="JSON")
    parser.add_argument("--weights", required=True, help="safetensors")
    parser.add_argument("--data", required=True, help="float, [row][label, numeric features, codes]")
    parser.add_argument("--order", required=True, help="int32, the rows as they are taken")
    parser.add_argument("--threads", type=int, default=1)
    serve_steps(torch.device("cpu"), Training(parser.parse_args()).step)


if __name__ == "__main__":
    main()
