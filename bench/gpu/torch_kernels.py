"""What kernels_bench is compared with: the ceilings (a large copy, a large bfloat16 product) and scaled_dot_product_attention
with its flash and its cuDNN backend, forward and backward. bench/gpu/main.py asks for a group a line."""

import argparse
import pathlib
import sys

import torch
from torch.nn import functional

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from torch_turns import serve_groups  # noqa: E402

BACKENDS = {"flash": torch.backends.cuda.enable_flash_sdp, "cuDNN": torch.backends.cuda.enable_cudnn_sdp,
            "efficient": torch.backends.cuda.enable_mem_efficient_sdp, "math": torch.backends.cuda.enable_math_sdp}


def only(backend):
    for name, enable in BACKENDS.items():
        enable(name == backend)


def random(device, *shape):
    return torch.empty(shape, dtype=torch.bfloat16, device=device).uniform_(-1, 1)


def copy(device, size):
    def make():
        source = random(device, size // 2)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)
    return ("copy", f"{size >> 20} MiB", 0, 2 * size, make)


def product(device, size):
    def make():
        a, b = random(device, size, size), random(device, size, size)
        c = torch.empty_like(a)
        return lambda: torch.mm(a, b, out=c)
    return ("product", f"{size} x {size} x {size}", 2 * size ** 3, 0, make)


def attention(device, backend, batch, length, heads, size):
    """q, k and v as views of one matrix, which is how a model has them. Causal: half of all pairs; two products forward, five
    backward."""
    pairs = batch * heads * length * length / 2

    def tensors():
        packed = random(device, batch, length, 3, heads, size).requires_grad_()
        return packed, [part.transpose(1, 2) for part in packed.unbind(2)]

    def run(q, k, v):
        only(backend)
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def forward():
        _, qkv = tensors()
        qkv = [part.detach() for part in qkv]
        return lambda: run(*qkv)

    def backward():
        _, qkv = tensors()
        qkv = [part.detach().requires_grad_() for part in qkv]
        out = run(*qkv)
        gradient = torch.randn_like(out)
        return lambda: torch.autograd.grad(out, qkv, gradient, retain_graph=True)

    return [(f"{backend} forward", f"head {size}", 4 * pairs * size, 0, forward),
            (f"{backend} backward", f"head {size}", 10 * pairs * size, 0, backward)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    device = torch.device(parser.parse_args().device)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    if device.type == "cuda":
        batch, length, width, square, copied, backends = 64, 1024, 768, 8192, 2 << 30, ("flash", "cuDNN")
    else:
        batch, length, width, square, copied, backends = 2, 32, 128, 64, 1 << 16, ("math",)
    groups = {"copy": [copy(device, copied)], "ceiling": [product(device, square)], "attention": []}
    for size in (64, 128):
        for backend in backends:
            groups["attention"] += attention(device, backend, batch, length, width // size, size)
    serve_groups(device, groups)


if __name__ == "__main__":
    main()
