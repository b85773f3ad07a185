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
        cases = sorted(self.dir.glob("*.json"))
        self.assertGreater(len(cases), 7)
        types = {"tensor(int64)": numpy.int64, "tensor(float)": numpy.float32}
        for case in cases:
            with self.subTest(case.stem):
                written = json.loads(case.read_text())
                session = onnxruntime.InferenceSession(case.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
                inputs = {}
                for each in session.get_inputs():
                    tensor = written["inputs"][each.name]
                    inputs[each.name] = numpy.array(tensor["values"], types[each.type]).reshape(tensor["shape"])
                (found,) = session.run([written["output"]], inputs)
                numpy.testing.assert_allclose(found.ravel(), written["predicted"], rtol=1e-5, atol=1e-5)
                self.no_values(session, inputs, written["output"])

    def no_values(self, session, inputs, output):
        """A multi-valued input may have no column at all, and no graph needs a row."""
        padded = [name for name, values in inputs.items() if values.ndim == 2]
        (all_missing,) = session.run([output], inputs | {name: numpy.full_like(inputs[name], -1) for name in padded})
        (no_columns,) = session.run([output], inputs | {name: inputs[name][:, :0] for name in padded})
        numpy.testing.assert_array_equal(all_missing, no_columns)
        (no_rows,) = session.run([output], {name: values[:0] for name, values in inputs.items()})
        self.assertEqual(len(no_rows), 0)


if __name__ == "__main__":
    unittest.main()
