"""The tests of the GPU code, a process a suite, and some of them under compute-sanitizer."""

import concurrent.futures
import re
import shutil
import subprocess

SUITE_SECONDS = 40
REHEARSED = {"kernels_cuda_test": "Device.*:ReduceCuda.*", "worker_gpu_test": "MemoryPlan.*:*DeviceStepGang*"}
# Tests of what --safe does without.
FAST_KERNELS = re.compile(r"Attention|Wgmma|Products|Gpt")
# Several ranks on this GPU.
GANGS = re.compile(r"(DeviceStep|TabularDevice)Gang\.")
SANITIZED = "*Attention.*:*NormCuda.*:*CrossEntropyCuda.*:*AdamWVersionsCuda.*:EmbeddingCuda.*:ReduceCuda.*"


def suites(program, chosen):
    """The full names of the tests of each suite."""
    listed = subprocess.run([program, "--gtest_list_tests", f"--gtest_filter={chosen}"], capture_output=True, text=True, timeout=60)
    found = {}
    for line in listed.stdout.splitlines():
        name = line.split("#")[0].rstrip()
        if not name.startswith(" "):
            suite = name
        else:
            found.setdefault(suite, []).append(suite + name.strip())
    if not found:
        raise RuntimeError(f"{program.name} lists no tests: {listed.stderr[-200:]}")
    return list(found.values())


def run_suite(program, names):
    """How each test ended: what hangs, or spoils the device for what comes after it, ends its own suite only."""
    command, end = [program, f"--gtest_filter={':'.join(names)}"], "was not run"
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SUITE_SECONDS)
        output = done.stdout
        broken = f"ended with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, broken = error.stdout or b"", f"did not end in {SUITE_SECONDS} s"
    found = dict.fromkeys(names, end)
    text = output.decode(errors="replace")
    for word, name in re.findall(r"^\[ +(RUN|OK|FAILED|SKIPPED) +\] ([\w/]+\.[\w/]+)", text, re.MULTILINE):
        found[name] = {"RUN": broken, "OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}[word]
    if set(found.values()) - {"passed", "skipped"}:
        print(text[-6000:], flush=True)
    return found


def verdict_on(ends):
    """(value of a row, its note) of {test: how it ended}."""
    bad = [f"{name} {end}" for name, end in ends.items() if end not in ("passed", "skipped")]
    passed = sum(end == "passed" for end in ends.values())
    skipped = f", {len(ends) - passed - len(bad)} skipped" if len(ends) > passed + len(bad) else ""
    return ("passed" if passed and not bad else "**FAILED**"), f"{passed} passed{skipped}{', bad: ' if bad else ''}{', '.join(bad)}"


def tests(section):
    ends, todo = {}, []
    for name in ("kernels_cuda_test", "worker_gpu_test"):
        program = section.program(name)
        todo += [(program, names) for names in suites(program, REHEARSED[name] if section.options.rehearse else "*")]
    with concurrent.futures.ThreadPoolExecutor(1 if section.options.rehearse else 4) as lanes:
        running = [lanes.submit(run_suite, *each) for each in todo]
        for count, done in enumerate(concurrent.futures.as_completed(running), 1):
            ends |= done.result()
            value, note = verdict_on(ends)
            section.row("tests", value if count == len(todo) else f"{count} of {len(todo)} suites", note=note)
    value, note = verdict_on({name: end for name, end in ends.items() if GANGS.search(name)})
    section.row("ranks", value, note=note)
    bad = [name for name, end in ends.items() if end not in ("passed", "skipped") and FAST_KERNELS.search(name)]
    if bad:
        section.make_safe(f"tests: {', '.join(bad)}")


def sanitizer(section):
    checker = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    found = []
    for tool in ("memcheck", "racecheck"):
        command = [checker, "--tool", tool, "--error-exitcode", "9", section.program("kernels_cuda_test"),
                   f"--gtest_filter={SANITIZED}", "--gtest_brief=1"]
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=section.limit / 2)
        except FileNotFoundError:
            section.row("sanitizer", "not measured", note="there is no compute-sanitizer on this machine")
            return
        except subprocess.TimeoutExpired:
            found.append(("not measured", f"{tool}: took longer than {section.limit / 2:.0f} s"))
        else:
            print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
            if "Device not supported" in done.stdout:
                section.row("sanitizer", "not measured", note="compute-sanitizer does not know this machine's device")
                return
            said = [line.strip("= ") for line in done.stdout.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
            passed = re.search(r"^\[  PASSED  \] ([1-9]\d*)", done.stdout, re.MULTILINE)
            found.append(("clean" if done.returncode == 0 and passed else "**errors**",
                          f"{tool}, {passed[1] if passed else 0} tests passed: {said[-1] if said else f'status {done.returncode}'}"))
        value = max((value for value, _ in found), key=["clean", "not measured", "**errors**"].index)
        section.row("sanitizer", value, note="; ".join(text for _, text in found))
