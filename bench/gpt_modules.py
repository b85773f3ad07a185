"""A GPT in PyTorch as its users write it: nn modules, scaled_dot_product_attention, cross_entropy; and our weights in it."""

import json
import struct
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional


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
        return self.head(x, targets)

    def head(self, x, targets):
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


def read_gpt(path):
    """(our name, the name in Gpt, values as they lie there). The file has Hugging Face's names and layouts: its Conv1D keeps
    [inputs, outputs]."""
    for name, values in read_safetensors(path):
        own = name.removeprefix("transformer.").replace("attn.c_attn", "c_attn")
        own = own.replace("attn.c_proj", "attn_c_proj").replace("mlp.c_fc", "c_fc").replace("mlp.c_proj", "mlp_c_proj")
        linear = own.endswith("weight") and ".c_" in own or own.endswith("c_proj.weight")
        yield name, own, values.t() if linear else values


def load_weights(model, path):
    """Rows that the model has beyond the file's (a vocabulary filled up to a rounder number) become 0."""
    parameters = dict(model.named_parameters())
    for _, own, values in read_gpt(path):
        with torch.no_grad():
            parameter = parameters.pop(own)
            parameter[len(values):].zero_()
            parameter[:len(values)].copy_(values)
    if parameters:
        sys.exit(f"{path} lacks {', '.join(parameters)}")


def parameter_groups(model, weight_decay):
    """As AdamW takes them: biases and norms do not decay."""
    return [dict(params=[values for values in model.parameters() if values.dim() > 1], weight_decay=weight_decay),
            dict(params=[values for values in model.parameters() if values.dim() <= 1], weight_decay=0.0)]
