"""Files that cannot be used are quarantined with the reason; none of them reaches a DatasetVersion or stops the others."""

import math
import unittest

import pyarrow as pa
import pyarrow.parquet

from support import PIPELINE, ROWS, DaemonCase, table


def with_column(data, name, values):
    index = data.schema.get_field_index(name)
    return data.set_column(index, data.schema.field(index), pa.array(values, data.schema.field(index).type))


def parquet_bytes(data):
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(data, sink)
    return sink.getvalue().to_pybytes()


class FilesTest(DaemonCase):
    def test_bad_files(self):
        self.apply(PIPELINE)
        good = {f"week-{week}.parquet": table(week) for week in range(2)}
        whole = table(7)
        bad = {
            "x-missing-column.parquet": (whole.drop_columns(["area"]), 'column "area" is not in the file'),
            "x-empty.parquet": (b"", "the file can't be read: x-empty.parquet: the file is empty"),
            "x-truncated.parquet": (parquet_bytes(whole)[:-2000], "truncated Parquet file"),
            "x-text.parquet": (b"these are not the columns you are looking for\n" * 20, "not a Parquet file"),
            "x-no-rows.parquet": (whole.slice(0, 0), "the file has 0 rows"),
            "x-nan.parquet": (with_column(whole, "area", [math.nan] * 3 + [1.0] * (ROWS - 3)),
                              'column "area" is NaN or infinite in 3 of 600 rows'),
            "x-infinite.parquet": (with_column(whole, "price", [math.inf] + [1.0] * (ROWS - 1)),
                                   'label "price" is NaN or infinite in 1 of 600 rows'),
            "x-constant.parquet": (with_column(whole, "price", [5.0] * ROWS), 'label "price" is the same in every row'),
            "x-other-type.parquet": (whole.set_column(2, "rooms", pa.array(["many"] * ROWS)),
                                     "column 'rooms' in x-other-type.parquet has the type string, but numbers are needed"),
        }
        for name, data in good.items():
            self.land(name, data)
        self.wait_for_entries(len(good))
        for name, (content, _) in bad.items():
            self.land(name, content)
        entries = self.wait_for_entries(len(good) + len(bad))
        for name, (_, reason) in bad.items():
            with self.subTest(name):
                self.assertEqual("QUARANTINED", entries[name]["state"], entries[name])
                self.assertIn(reason, entries[name]["reason"])
        for name in good:
            self.assertEqual("ACCEPTED", entries[name]["state"])
        # The good ones go on: one more completes the trigger's condition.
        self.land("week-2.parquet", table(2))
        run = self.wait_for_run()["run"]
        self.assertEqual("SUCCEEDED", run["state"], run.get("message"))
        dataset = self.api.get(f"/api/v1/datasets/{run['inputs'][0]['dataset_digest']}")
        self.assertEqual([f"week-{week}.parquet" for week in range(3)],
                         [entry["uri"] for entry in dataset["entries"]])
        done = self.daemon.cli("data", "release", "prices", "sales", "--all", "--reason", "looks fine", check=False)
        self.assertNotEqual(0, done.returncode)
        self.assertIn("can't be released", done.stderr)

    def test_file_that_is_still_written(self):
        self.apply(PIPELINE)
        content = parquet_bytes(table(1))
        with open(self.landing / "slow.parquet", "wb") as file:
            file.write(content[:len(content) // 2])
            file.flush()
            self.land("week-0.parquet", table(0))
            self.assertEqual({"week-0.parquet"}, set(self.wait_for_entries(1)))
            file.write(content[len(content) // 2:])
        entries = self.wait_for_entries(2)
        self.assertEqual("ACCEPTED", entries["slow.parquet"]["state"], entries["slow.parquet"])


if __name__ == "__main__":
    unittest.main()
