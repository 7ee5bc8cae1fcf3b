"""`vjax report`: writes what a run or a comparison has found as one HTML page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vjax.cli.arguments import SOURCE_PREFIX
from vjax.config_file import override_choice
from vjax.data.files import indexing_progress
from vjax.data.sources import SOURCES
from vjax.errors import InputError
from vjax.evaluation.predictions import read_predictions
from vjax.json_files import check_writable, write_text
from vjax.probed import probe_run
from vjax.report.comparison_report import RUN_REPORT, is_comparison, report_comparison
from vjax.report.run_report import check_videos, report_run
from vjax.text import Progress
from vjax.trained import load


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "report",
        help="write what a run has found as one HTML page",
        description="Writes an HTML page that needs no network: data, curves, classes, calibration, the surest "
        "mistakes as clips, and where and when the network looked. For the work directory of vjax compare or vjax "
        "crossval: the networks with their intervals.",
    )
    parser.add_argument(
        "workdir", metavar="WORKDIR", help="work directory of a run, a comparison or a cross-validation"
    )
    parser.add_argument("--out", metavar="FILE", help=f"page to write (default: {RUN_REPORT} in the work directory)")
    parser.add_argument(
        "--probes",
        action="store_true",
        help="evaluate on changed frames first if the run has not been, for the section on motion",
    )
    parser.set_defaults(command=run, overridden=SOURCE_PREFIX)
    parser.epilog = f"If the videos have moved, {SOURCE_PREFIX}root=DIR says where they are."


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Writes the page and prints its path."""
    workdir = Path(args.workdir).expanduser()
    out = Path(args.out) if args.out else workdir / RUN_REPORT
    if not workdir.is_dir():
        raise InputError(f"{workdir}: there is no such folder; give the --workdir of a training run")
    check_writable(out)
    if is_comparison(workdir):
        if args.probes or overrides:
            raise InputError(f"{workdir} is a comparison: its page takes neither --probes nor {SOURCE_PREFIX}KEY")
        write_text(out, report_comparison(workdir, page=out))
    else:
        write_text(out, _report_run(workdir, overrides, probes=args.probes))
    print(out)


def _report_run(workdir: Path, overrides: Sequence[str], *, probes: bool) -> str:
    trained = load(workdir)
    choice = override_choice(trained.config.source, SOURCES, overrides, prefix=SOURCE_PREFIX) if overrides else None
    try:
        with indexing_progress(sys.stderr) as progress:
            source = trained.open_source(choice, advance=progress.advance)
        check_videos(read_predictions(workdir), source)
    except InputError as error:
        if overrides or probes:
            raise
        print(f"the page has no videos: {error}; give {SOURCE_PREFIX}root=DIR if they have moved", file=sys.stderr)
        source = str(error)
    if probes and not isinstance(source, str):
        probe_run(workdir, read_predictions(workdir), sys.stderr, source=source)
    with Progress(sys.stderr, unit="example") as progress:
        return report_run(trained, source, advance=progress.advance)
