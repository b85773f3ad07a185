"""GPT training in PyTorch, as its users write it: nn modules, scaled_dot_product_attention, cross_entropy, fused AdamW. Reads
what to do from its standard input, a line each, and answers each with a line of JSON; bench/cpu/main.py talks to it."""

import argparse
import json
import struct
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional

from torch_turns import serve


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, width = config["heads"], config["width"]
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2)
                   for part in self.c_attn(self.ln_1(x)).split(width, dim=2))
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_c_proj(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp_c_proj(functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config["vocabulary"], config["width"])
        self.wpe = nn.Embedding(config["context"], config["width"])
        self.h = nn.ModuleList(Block(config) for _ in range(config["layers"]))
        self.ln_f = nn.LayerNorm(config["width"])

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = numpy.frombuffer(data[begin:end], dtype=numpy.float32)
            yield name, torch.from_numpy(values.reshape(entry["shape"]).copy())


def load_weights(model, path):
    """Hugging Face's names and layouts: its Conv1D keeps [inputs, outputs]."""
    parameters = dict(model.named_parameters())
    for name, values in read_safetensors(path):
        own = name.removeprefix("transformer.").replace("attn.c_attn", "c_attn")
        own = own.replace("attn.c_proj", "attn_c_proj").replace("mlp.c_fc", "c_fc").replace("mlp.c_proj", "mlp_c_proj")
        linear = own.endswith("weight") and ".c_" in own or own.endswith("c_proj.weight")
        with torch.no_grad():
            parameters.pop(own).copy_(values.t() if linear else values)
    if parameters:
        sys.exit(f"torch_gpt.py: {path} lacks {', '.join(parameters)}")


class Training:
    def __init__(self, options):
        self.options, config = options, json.loads(options.config)
        torch.set_num_threads(options.threads)
        model = Gpt(config)
        load_weights(model, options.weights)
        matrices = [values for values in model.parameters() if values.dim() > 1]
        others = [values for values in model.parameters() if values.dim() <= 1]  # biases and norms
        self.optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=config["weight_decay"]),
                                            dict(params=others, weight_decay=0.0)],
                                           lr=config["learning_rate"], betas=(0.9, 0.95), eps=1e-8, fused=True)
        self.model, self.parameters, self.clip = model, list(model.parameters()), config["clip_norm"]
        if options.compile:
            self.model = torch.compile(model)
        tokens = numpy.fromfile(options.batches, dtype=numpy.int32).astype(numpy.int64)
        self.batches = torch.from_numpy(tokens).view(-1, config["batch"], config["length"] + 1)
        self.next = 0

    def step(self):
        batch = self.batches[self.next]
        self.next += 1
        with torch.autocast("cpu", torch.bfloat16, enabled=self.options.bf16):
            loss = self.model(batch[:, :-1], batch[:, 1:])
        loss.backward()
        if self.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="JSON")
    parser.add_argument("--weights", required=True, help="safetensors")
    parser.add_argument("--batches", required=True, help="int32, [step][batch][length + 1]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--compile", action="store_true")
    serve(Training(parser.parse_args()).step)


if __name__ == "__main__":
    main()
