"""`vjax features`: writes the features of videos to a file."""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from vjax.cli.videos import add_videos, find_videos, open_videos, print_errors
from vjax.errors import InputError
from vjax.from_weights import features_from_weights
from vjax.json_files import check_writable
from vjax.trained import load
from vjax.training.pretrained import find_pretrained
from vjax.weights.write import write_npz


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "features",
        help="write the features of videos to a file",
        description="Writes the features of videos, which are the input of a trained network's classifier. The file "
        "has the NumPy arrays names, clips (videos x views x vectors of a view x features) and videos (videos x "
        "features), the means over views and vectors.",
    )
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="work directory of a training run, file of weights, or name of published weights (`vjax models`)",
    )
    add_videos(parser)
    parser.add_argument(
        "--checkpoint",
        choices=("newest", "best"),
        default="newest",
        help="checkpoint of the run to use; best has the highest video@1 on the validation split (default: newest)",
    )
    parser.add_argument(
        "--network",
        default="",
        metavar="NAME",
        help="network, or 2D backbone, that the weights are for, if they are not published",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help=".npz file to write, for numpy.load")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> int:
    """Writes the features of the videos that can be read, and prints the videos that cannot."""
    if not args.out.lower().endswith(".npz"):
        raise InputError(f"--out must be a .npz file, got {args.out}")
    check_writable(args.out)
    paths = find_videos(args.videos)
    is_run = find_pretrained(args.weights).is_run
    if is_run and args.network:
        raise InputError(
            f"--network is for files of weights, but {args.weights} is a folder; a run has its own network"
        )
    if not is_run and args.checkpoint != "newest":
        raise InputError(f"--checkpoint is for runs, but {args.weights} is no folder; a file has no checkpoints")
    trained = load(args.weights, checkpoint=args.checkpoint) if is_run else None
    videos, errors = open_videos(paths)
    if videos:
        if trained is not None:
            found = trained.features(videos)
        else:
            found = features_from_weights(args.weights, videos, network=args.network)
        write_npz(args.out, {"names": np.array(found.names), "clips": found.clips, "videos": found.videos})
        num_videos, num_views, _, size = found.clips.shape
        print(f"{args.out}: {size:,} features of {num_videos:,} video(s), each the mean over {num_views} view(s)")
    print_errors(errors)
    return 2 if errors else 0
