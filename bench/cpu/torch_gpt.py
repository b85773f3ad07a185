"""GPT training in PyTorch (bench/gpt_modules.py) with fused AdamW. Reads what to do from its standard input, a line each, and
answers each with a line of JSON; bench/cpu/main.py talks to it."""

import argparse
import json
import pathlib
import sys

import numpy
import torch

from torch_turns import serve

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from gpt_modules import Gpt, load_weights, parameter_groups  # noqa: E402


class Training:
    def __init__(self, options):
        self.options, config = options, json.loads(options.config)
        torch.set_num_threads(options.threads)
        model = Gpt(config)
        load_weights(model, options.weights)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, config["weight_decay"]), lr=config["learning_rate"],
                                           betas=(0.9, 0.95), eps=1e-8, fused=True)
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
