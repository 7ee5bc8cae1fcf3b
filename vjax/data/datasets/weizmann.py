"""The Weizmann dataset: 10 actions by 9 subjects.

Source: Blank et al. 2005, "Actions as space-time shapes". The literature leaves out one of the nine subjects at a
time. The subject is the group, so `held_out=daria` leaves out daria.
"""

import dataclasses

from vjax.data.archives import unpack
from vjax.data.listing import Listing, check_root, list_folder


def list_videos(*, root: str) -> Listing:
    """Returns the videos of a folder `action/subject_action.avi`, or of the official archives `action.zip` in it.

    Args:
      root: folder of the videos or of the archives.
    """
    listing = list_folder(unpack(check_root(root)))
    files = [dataclasses.replace(file, group=file.path.stem.split("_")[0]) for file in listing.files]
    return dataclasses.replace(listing, files=tuple(files))
