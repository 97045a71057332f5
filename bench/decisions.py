#!/usr/bin/env python3
"""What a decision costs an application: the real cuDNN library, one process a run, each problem new to it.

Runs reformer_example (which asks as cudnn-frontend does: heuristics mode A, one list a problem) over
measured problems: without the shim; with it on an empty cache, where the model answers; and with it
after the measurements have been imported. Prints the quantiles of the time of a decision, the building
of the engine and its configuration included, and their ratio to heuristic A's of the same run. A
process's first decision, which loads cuDNN, is left out.

Without a GPU cuDNN answers through the shipped device properties of an H200.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ["h200-networks", "h200-mix", "h200-batch", "h200-edges"]
QUANTILES = [0.1, 0.5, 0.9]


def text(problem):
    """The problem as docs/problems.md writes it; None for three dimensions."""
    if "text" in problem:
        return problem["text"] if "ndhwc" not in problem["text"] and "ncdhw" not in problem["text"] else None
    if len(problem["pad"]) != 2:
        return None
    both = {key: str(a) if a == b else f"{a}x{b}" for key, (a, b) in
            ((key, problem[key]) for key in ("pad", "stride", "dilation"))}
    sizes = " ".join(f"{name}{problem[name]}" for name in "nchwkrs")
    return (f"{problem['op'].removeprefix('conv_')} {problem['dtype']} {problem['layout']} {sizes} "
            f"pad{both['pad']} str{both['stride']} dil{both['dilation']} grp{problem['groups']}")


def measured_problems(count):
    found = []
    for name in FILES:
        lines = subprocess.run(["zstd", "-dcq", ROOT / "data" / f"{name}.jsonl.zst"],
                               check=True, capture_output=True).stdout.splitlines()
        found += [line for line in map(text, (json.loads(line)["problem"] for line in lines)) if line]
    random.Random(1).shuffle(found)
    return found[:count]


def quantile(values, share):
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "data/h200.reformer")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    properties = ["--device-prop", str(ROOT / "data/h200-deviceprop.json")]
    if any(pathlib.Path("/dev").glob("nvidia[0-9]*")):
        properties = []

    with tempfile.TemporaryDirectory(prefix="reformer-decisions.") as folder:
        folder = pathlib.Path(folder)
        (folder / "problems").write_text("\n".join(measured_problems(arguments.problems)) + "\n")
        environment = os.environ | {"REFORMER_SOCKET": str(folder / "socket")}
        control = str(arguments.bin / "reformerctl")
        example = [str(arguments.bin / "reformer_example"), *properties, str(folder / "problems")]
        daemon = subprocess.Popen(
            [arguments.bin / "reformerd", "--foreground", "--state-dir", folder / "state",
             "--socket", folder / "socket", "--model", arguments.model, *properties, "--timer", "none"],
            stderr=subprocess.DEVNULL)

        def status():
            return subprocess.run([control, "status"], env=environment, capture_output=True).returncode == 0

        def decisions(*before):
            done = subprocess.run([*before, *example], env=environment, check=True, capture_output=True)
            return [json.loads(line)["decision_us"] for line in done.stdout.splitlines()][1:]

        try:
            while not status():
                if daemon.poll() is not None:
                    raise SystemExit("decisions: the daemon did not start")
                time.sleep(0.05)
            runs = {"cuDNN alone": decisions()}
            runs["shim, predicted"] = decisions(control, "run", "--")
            subprocess.run([control, "import", *(str(ROOT / "data" / f"{name}.jsonl.zst") for name in FILES)],
                           env=environment, check=True, capture_output=True)
            runs["shim, measured"] = decisions(control, "run", "--")
        finally:
            daemon.terminate()
            daemon.wait()

    alone = runs["cuDNN alone"]
    rows = [{"run": run, "problems": len(times),
             **{f"p{round(100 * share)}_us": round(quantile(times, share), 1) for share in QUANTILES},
             "p50_ratio": round(quantile(times, 0.5) / quantile(alone, 0.5), 3),
             "total_ratio": round(sum(times) / sum(alone), 3)} for run, times in runs.items()]
    if arguments.json:
        print(json.dumps(rows))
        return
    print("| decision, microseconds | p10 | p50 | p90 | p50 against A | total against A |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['run']} | {row['p10_us']:.0f} | {row['p50_us']:.0f} | {row['p90_us']:.0f} "
              f"| {row['p50_ratio']} | {row['total_ratio']} |")


if __name__ == "__main__":
    main()
