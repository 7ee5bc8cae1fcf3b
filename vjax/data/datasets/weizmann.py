"""The Weizmann actions: 10 actions by 9 subjects.

Source: Blank et al. 2005, "Actions as space-time shapes". The literature leaves one subject out, nine times; the
subject is the group, so `held_out=daria` does it.
"""

import dataclasses

from vjax.data.archives import unpack
from vjax.data.listing import Listing, check_root, list_folder


def list_videos(*, root: str) -> Listing:
    """Returns the videos of `action/subject_action.avi`; `root` may hold the official archives, `action.zip`."""
    files = list_folder(unpack(check_root(root)))
    return Listing(tuple(dataclasses.replace(file, group=file.path.stem.split("_")[0]) for file in files))
