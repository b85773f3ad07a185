"""Writes tests/data/losses/gpt2_torch.txt: the losses of 200 steps of a tiny GPT in PyTorch, in float32 on one thread. Run it with
.deps/torch/bin/python (bench/cpu/run --install) after gpt_train is built. The test that reads the file trains from the same
weights on the same tokens; CONFIG is what both must agree on."""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))
import models  # noqa: E402
import torch_gpt  # noqa: E402

STEPS = 200
CONFIG = dict(layers=2, heads=4, width=32, context=32, vocabulary=65, batch=4, length=24, learning_rate=3e-3,
              weight_decay=0.1, clip_norm=1.0)


def main():
    with tempfile.TemporaryDirectory() as directory:
        weights, batches = f"{directory}/weights", f"{directory}/batches"
        subprocess.run([ROOT / "build/cpu/bin/gpt_train", "--prepare", "--steps", str(STEPS), "--weights", weights, "--batches",
                        batches, *models.flags(CONFIG)], check=True)
        training = torch_gpt.Training(torch_gpt.parse(["--config", json.dumps(CONFIG), "--weights", weights, "--batches", batches,
                                                       "--device", "cpu", "--threads", "1", "--precision", "float", "--compile", "no"]))
        losses = [training.step().item() for _ in range(STEPS)]
    header = f"torch {torch.__version__}\n" + " ".join(f"{key}={value:g}" for key, value in CONFIG.items()) + "\n"
    path = ROOT / "tests/data/losses/gpt2_torch.txt"
    path.write_text(header + "".join(f"{loss:.9g}\n" for loss in losses))
    print(f"{path}: {losses[0]:.4f} to {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
