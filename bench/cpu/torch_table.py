"""The flights model in PyTorch, from Parquet files to the end of a pass, as its users write it: the columns read and encoded at
once by pyarrow, TensorDataset and DataLoader, nn modules, fused AdamW. Each line of its standard input asks for one such
training and is answered with a line of JSON; bench/cpu/main.py talks to it."""

import argparse
import json
import pathlib
import resource
import sys
import time

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from gpt_modules import read_safetensors  # noqa: E402

CATEGORIES = ("origin", "destination")


class Flights(nn.Module):
    def __init__(self, counts):
        super().__init__()
        self.embedding = nn.ModuleDict({name: nn.Embedding(count, 16) for name, count in counts.items()})
        self.layers = nn.ModuleList([nn.Linear(16 * len(counts) + 1, 64), nn.Linear(64, 32)])
        self.output = nn.Linear(32, 1)

    def forward(self, codes, numbers):
        x = torch.cat([*(table(codes[:, i]) for i, table in enumerate(self.embedding.values())), numbers], dim=1)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.output(x).squeeze(1)


def read_rows(directory):
    """(codes, distance, label) as tensors, and how many codes each category has; 0 is "missing"."""
    table = pa.concat_tables(pq.read_table(path, columns=["distance", *CATEGORIES, "delay"])
                             for path in sorted(pathlib.Path(directory).glob("*.parquet")))
    codes, counts = [], {}
    for name in CATEGORIES:
        column = table[name].combine_chunks().dictionary_encode()
        order = pc.sort_indices(column.dictionary).to_numpy()
        ranks = numpy.empty(len(order), dtype=numpy.int64)
        ranks[order] = numpy.arange(1, len(order) + 1)
        codes.append(ranks[column.indices.to_numpy()])
        counts[name] = len(order) + 1
    distance = table["distance"].to_numpy().astype(numpy.float64)
    scaled = ((distance - distance.mean()) / distance.std()).astype(numpy.float32)
    label = (table["delay"].to_numpy() > 15).astype(numpy.float32)
    return TensorDataset(torch.from_numpy(numpy.stack(codes, 1)), torch.from_numpy(scaled).unsqueeze(1),
                         torch.from_numpy(label)), counts


def train(options):
    began, cpu_began = time.perf_counter(), cpu_seconds()
    dataset, counts = read_rows(options.data)
    read_seconds = time.perf_counter() - began
    model = Flights(counts)
    model.load_state_dict(dict(read_safetensors(options.weights)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002, weight_decay=0.0, fused=True)
    order = numpy.fromfile(options.order, dtype=numpy.int32).tolist()
    losses = []
    for codes, numbers, labels in DataLoader(dataset, options.batch, sampler=order, num_workers=options.workers):
        loss = nn.functional.binary_cross_entropy_with_logits(model(codes, numbers), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"seconds": [time.perf_counter() - began], "read_seconds": read_seconds, "losses": losses, "rows": len(dataset),
            "cpu_seconds": cpu_seconds() - cpu_began,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def cpu_seconds():
    """Of this process and the loader's workers that have ended."""
    return sum(usage.ru_utime + usage.ru_stime
               for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a directory of Parquet files")
    parser.add_argument("--weights", required=True, help="safetensors")
    parser.add_argument("--order", required=True, help="int32, the rows as they are taken")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0, help="processes of the DataLoader")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps({"version": torch.__version__}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(train(options)), flush=True)


if __name__ == "__main__":
    main()
