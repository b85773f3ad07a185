"""GPT training in PyTorch (gpt_modules.py), as its users write it: torch.compile, scaled_dot_product_attention, on a GPU with the
faster of its flash and cuDNN backends, fused AdamW, bfloat16 by autocast over float weights or with weights and moments in bfloat16.
Batches lie on the device before they are needed, and losses are read when all steps are done. A benchmark asks for a number of
steps a line."""

import argparse
import json
import sys

import numpy
import torch
from torch.nn import functional

from gpt_modules import Gpt, load_weights, parameter_groups
from torch_turns import Marks, serve_steps


class FilledGpt(Gpt):
    """Its vocabulary is filled up to a multiple of 128, which makes PyTorch's products on a GPU faster."""

    def __init__(self, config):
        super().__init__(dict(config, vocabulary=(config["vocabulary"] + 127) // 128 * 128))
        self.vocabulary = config["vocabulary"]

    def head(self, x, targets):
        logits = functional.linear(self.ln_f(x).view(-1, x.shape[-1]), self.wte.weight)
        return functional.cross_entropy(logits[:, :self.vocabulary].float(), targets.reshape(-1))


def enable_attention(backend):
    torch.backends.cuda.enable_flash_sdp(backend == "flash")
    torch.backends.cuda.enable_cudnn_sdp(backend == "cudnn")
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_math_sdp(False)


def choose_attention(config, device, backends):
    """Leaves that of the backends enabled which is the fastest for this shape, forward and backward."""
    shape = config["batch"], config["heads"], config["length"], config["width"] // config["heads"]
    q, k, v, gradient = (torch.randn(shape, dtype=torch.bfloat16, device=device, requires_grad=True) for _ in range(4))
    seconds = {}
    for backend in backends:
        enable_attention(backend)
        try:
            marks = Marks(device)
            for _ in range(6):
                torch.autograd.grad(functional.scaled_dot_product_attention(q, k, v, is_causal=True), (q, k, v), gradient)
                marks.mark()
            seconds[backend] = min(marks.seconds())
        except RuntimeError as error:
            print(f"{backend} attention: {error}", file=sys.stderr)
    fastest = min(seconds, key=seconds.get, default="flash")
    print(f"attention: {fastest} of {seconds}", file=sys.stderr)
    enable_attention(fastest)
    # Which backend is enabled is not in the key by which compiled graphs are cached.
    if hasattr(getattr(torch.compiler, "config", None), "cache_key_tag"):
        torch.compiler.config.cache_key_tag = fastest


def initialise(model):
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)


class Training:
    def __init__(self, options):
        config = json.loads(options.config)
        self.device = torch.device(options.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        if self.device.type == "cuda":
            choose_attention(config, self.device, options.attention)
            torch.set_float32_matmul_precision("high")
        with self.device:
            model = FilledGpt(config) if options.filled else Gpt(config)
            if options.weights:
                load_weights(model, options.weights)
            else:
                initialise(model)
        if options.precision == "pure":
            model.to(torch.bfloat16)
        self.autocast = options.precision == "autocast"
        self.optimizer = torch.optim.AdamW(parameter_groups(model, config["weight_decay"]), lr=config["learning_rate"],
                                           betas=(0.9, 0.95), eps=1e-8, fused=True)
        self.parameters, self.clip = list(model.parameters()), config["clip_norm"]
        self.model = model if options.compile == "no" else torch.compile(model, mode=options.compile)
        shape = (-1, config["batch"], config["length"] + 1)
        if options.batches:
            tokens = numpy.fromfile(options.batches, dtype=numpy.int32).reshape(shape)
        else:
            tokens = numpy.random.default_rng(1).integers(0, config["vocabulary"], (4, *shape[1:]))
        self.batches = torch.from_numpy(tokens.astype(numpy.int64)).to(self.device)
        self.next = 0

    def step(self):
        batch = self.batches[self.next % len(self.batches)]
        self.next += 1
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            loss = self.model(batch[:, :-1], batch[:, 1:])
        loss.backward()
        if self.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach().clone()


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="JSON")
    parser.add_argument("--weights", help="safetensors; without it GPT-2's initial distribution")
    parser.add_argument("--batches", help="int32, [step][batch][length + 1]; without it random tokens")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--precision", default="autocast", choices=["autocast", "pure", "float"])
    parser.add_argument("--attention", nargs="+", default=["flash", "cudnn"], help="the faster of these")
    parser.add_argument("--compile", default="default", choices=["no", "default", "reduce-overhead"])
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--filled", action="store_true", help="the vocabulary, to a multiple of 128")
    return parser.parse_args(arguments)


def main():
    training = Training(parse())
    serve_steps(training.device, training.step)


if __name__ == "__main__":
    main()
