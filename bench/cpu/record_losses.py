"""Writes tests/data/losses/gpt2_torch.txt: the losses of 200 steps of a tiny GPT in PyTorch, in float32 on one thread. Run it with
.deps/torch/bin/python (bench/cpu/run --install) after gpt_train is built. The test that reads the file trains from the same
weights on the same tokens; CONFIG is what both must agree on."""

import json
import pathlib
import subprocess
import tempfile
import types

import torch
import torch_gpt

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STEPS = 200
CONFIG = dict(layers=2, heads=4, width=32, context=32, vocabulary=65, batch=4, length=24, learning_rate=3e-3,
              weight_decay=0.1, clip_norm=1.0)


def main():
    with tempfile.TemporaryDirectory() as directory:
        weights, tokens, batches = (f"{directory}/{name}" for name in ("weights", "tokens", "batches"))
        flags = [str(part) for key, value in CONFIG.items() for part in (f"--{key}", value)]
        subprocess.run([ROOT / "build/cpu/bin/gpt_train", "--prepare", "--steps", str(STEPS), "--weights", weights, "--tokens",
                        tokens, "--batches", batches, *flags], check=True)
        training = torch_gpt.Training(types.SimpleNamespace(config=json.dumps(CONFIG), weights=weights, batches=batches, threads=1,
                                                            bf16=False, compile=False))
        losses = [training.step() for _ in range(STEPS)]
    header = f"torch {torch.__version__}\n" + " ".join(f"{key}={value:g}" for key, value in CONFIG.items()) + "\n"
    path = ROOT / "tests/data/losses/gpt2_torch.txt"
    path.write_text(header + "".join(f"{loss:.9g}\n" for loss in losses))
    print(f"{path}: {losses[0]:.4f} to {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
