"""The gradient of the mean loss over a batch, three times: in float32, which the others are measured against, in PyTorch's
bfloat16 (autocast), and ours, from a file. Prints one line of JSON: the norm of the difference over the norm, of each, and their
ratio; the worst tensor."""

import argparse
import json
import pathlib
import sys

import numpy
import torch

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from gpt_modules import Gpt, load_weights, read_gpt  # noqa: E402


def gradients(model, batch, bfloat16):
    model.zero_grad(set_to_none=True)
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=bfloat16):
        loss = model(batch[:, :-1], batch[:, 1:])
    loss.backward()
    return {name: parameter.grad.float().clone() for name, parameter in model.named_parameters()}


def distance(found, true):
    return (found - true).double().norm().item() / max(true.double().norm().item(), 1e-30)


def together(found, true):
    return (sum((found[name] - values).double().square().sum() for name, values in true.items())
            / sum(values.double().square().sum() for values in true.values())).sqrt().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="JSON")
    parser.add_argument("--weights", required=True, help="safetensors")
    parser.add_argument("--batches", required=True, help="int32, [step][batch][length + 1]")
    parser.add_argument("--gradient", required=True, help="ours of the first batch: safetensors, as the weights")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    options = parser.parse_args()
    config, device = json.loads(options.config), torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    with device:
        model = Gpt(config)
    load_weights(model, options.weights)
    shape = config["batch"], config["length"] + 1
    tokens = numpy.fromfile(options.batches, dtype=numpy.int32, count=shape[0] * shape[1]).reshape(shape)
    batch = torch.from_numpy(tokens.astype(numpy.int64)).to(device)
    true, peer = gradients(model, batch, False), gradients(model, batch, True)
    ours = {own: values.to(device) for _, own, values in read_gpt(options.gradient)}
    # A tensor whose gradient is 0 but for rounding says nothing: the bias of keys, which softmax does not see, is part of one.
    ratios = {name: distance(ours[name], values) / max(distance(peer[name], values), 1e-6) for name, values in true.items()}
    worst = max(ratios, key=ratios.get)
    all_ours, all_peer = together(ours, true), together(peer, true)
    print(json.dumps({"ours": all_ours, "theirs": all_peer, "ratio": all_ours / max(all_peer, 1e-9), "worst": worst,
                      "worst_ratio": ratios[worst]}))


if __name__ == "__main__":
    main()
