"""The models of freshet-model beside the programs they are for: transformers loads our artifacts and gives the same logits, ours
gives those of what transformers saved, and onnxruntime predicts what the model predicts. Needs the Python environment that
bench/cpu/run --install makes (several GB); without it the tests are skipped, and tests/data/hugging_face stands in."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARIES = pathlib.Path(os.environ.get("FRESHET_BINARY_DIR") or ROOT / "build/cpu/bin")
RECORD = ROOT / "tests/data/hugging_face/record.py"
TEXT = [72, 101, 108, 108, 111, 256, 0, 255]

try:
    import numpy
    import onnxruntime
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}: run bench/cpu/run --install", file=sys.stderr)
    sys.exit(77)


def run(*command, **environment):
    subprocess.run([str(part) for part in command], check=True, env=dict(os.environ, **environment), stdout=subprocess.DEVNULL)


class FormatsTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="freshet-formats-")
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)

    def load(self, directory):
        model, found = transformers.AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
            self.assertFalse(found[kind], f"{directory}: {kind}")
        with torch.no_grad():
            return model.eval()(torch.tensor([TEXT])).logits

    def test_transformers(self):
        """From transformers into ours and back: every key, the same logits. Then ours against these logits."""
        run(sys.executable, RECORD, self.dir)
        for saved in sorted(self.dir.iterdir()):
            ours = self.dir / f"ours_{saved.name}"
            run(BINARIES / "freshet-model", "import", "hf", saved, ours, "--tokenizer", "bytes")
            self.assertTrue(torch.equal(self.load(saved), self.load(ours)), saved.name)
        run(BINARIES / "worker_formats_test", "--gtest_filter=*GivesTheLogitsOfTransformers*",
            FRESHET_HUGGING_FACE_DATA=str(self.dir))

    def test_onnxruntime(self):
        run(BINARIES / "worker_formats_test", "--gtest_filter=Onnx.PredictsWhatTheModelPredicts", FRESHET_ONNX_OUTPUT=str(self.dir))
        for name, output in (("binary", "logit"), ("regression", "value")):
            written = json.loads((self.dir / f"{name}.json").read_text())
            session = onnxruntime.InferenceSession(self.dir / f"{name}.onnx", providers=["CPUExecutionProvider"])
            types = {"tensor(int64)": numpy.int64, "tensor(float)": numpy.float32}
            inputs = {each.name: numpy.array(written["inputs"][each.name], types[each.type]) for each in session.get_inputs()}
            (found,) = session.run([output], inputs)
            numpy.testing.assert_allclose(found, written["predicted"], rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
