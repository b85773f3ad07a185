"""Many submits at a time: through a load program, or as a process for each submit."""

import concurrent.futures
import json
import subprocess
import time


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summed(parts):
    """One result of several programs that ran at the same time."""
    return {"acknowledged": sum(part["acknowledged"] for part in parts), "seconds": max(part["seconds"] for part in parts),
            "p50_ms": percentile([part["p50_ms"] for part in parts], 0.5), "p99_ms": max(part["p99_ms"] for part in parts)}


def processes(command, environment, parallel, seconds):
    """A process for each submit, `parallel` at a time; the ids are the last words that they print."""
    ids, took = [], []

    def one_after_the_other(end):
        while time.monotonic() < end:
            begin = time.monotonic()
            done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, check=True)
            took.append(1000 * (time.monotonic() - begin))
            ids.append(done.stdout)

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        for future in [pool.submit(one_after_the_other, begin + seconds) for _ in range(parallel)]:
            future.result()
    return {"acknowledged": len(ids), "seconds": time.monotonic() - begin, "p50_ms": percentile(took, 0.5),
            "p99_ms": percentile(took, 0.99), "ids": ids}


def freshet_http(load, daemon, connections, ids, seconds=0.0, count=0, pause_ms=0.0):
    command = [str(load), "--url", daemon.api.url, "--token-file", str(daemon.token_path), "--pipeline", "prices",
               "--connections", str(connections), "--ids", str(ids), "--seconds", str(seconds), "--count", str(count),
               "--pause-ms", str(pause_ms)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def freshet_cli(daemon, parallel, seconds):
    environment = daemon.environment | {"FRESHET_DATA_DIR": str(daemon.data_dir), "FRESHET_SERVER": ""}
    result = processes([str(daemon.binaries / "freshet"), "submit", "prices", "--json"], environment, parallel, seconds)
    result["ids"] = [json.loads(text)["id"] for text in result["ids"]]
    return result


def sbatch(slurm, parallel, seconds):
    result = processes(slurm.SBATCH, slurm.environment, parallel, seconds)
    result["ids"] = [text.strip() for text in result["ids"]]
    return result


def slurm_api(slurm, parallel, seconds=0.0, count=0):
    """`count` is of each program."""
    programs = [subprocess.Popen([str(slurm.load), str(count), str(seconds)], env=slurm.environment,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(parallel)]
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        told = list(pool.map(lambda program: program.communicate(), programs))
    for program, (_, errors) in zip(programs, told):
        if program.returncode != 0:
            raise RuntimeError(f"slurm_load failed: {errors[-300:]}")
    result = summed([json.loads(out) for out, _ in told])
    result["ids"] = [line for _, ids in told for line in ids.split()]
    return result
