"""Small video files, made by code, for tests that need a folder of them."""

import numpy as np

from vjax.data.encode import write_frames

LABELS = ("fall", "rise")
GROUPS = ("ann", "bob", "cem", "dan")


def write_folder(root, *, pattern="{group}.mp4", labels=LABELS, groups=GROUPS):
    """Writes `root/label/...`: a bright bar that rises or falls, one video for each label and group."""
    for label in labels:
        (root / label).mkdir(parents=True)
        for number, group in enumerate(groups):
            name = pattern.format(label=label, group=group)
            write_frames(root / label / name, _bar(up=label == labels[-1], phase=number), fps=10)
    return root


def _bar(*, up, phase, num_frames=12, size=24):
    frames = np.full((num_frames, size, size + 8, 3), 40, np.uint8)
    for index in range(num_frames):
        row = (phase * 5 + 2 * index * (-1 if up else 1)) % size
        frames[index, row : row + 4] = 220
    return frames
