"""Tiny data sets in the layouts in which their authors give them out."""

import csv
import json
import zipfile

from video_files import GROUPS, LABELS, write_folder

AWKWARD = "(Rad)Schlag_die_Bank!_run_f_cm_np1_fr_med_0.avi"  # a real name of HMDB51


def write_ucf101(root):
    """Writes `UCF-101/CLASS/v_CLASS_gNN_cNN.avi` and `ucfTrainTestlist/`: group 1 is the test split of list 1."""
    groups = ("g01", "g02", "g03")
    write_folder(root / "UCF-101", pattern="v_{label}_{group}_c01.avi", groups=groups)
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    for number, tested in enumerate(groups, start=1):
        rows = {"train": [], "test": []}
        for index, label in enumerate(LABELS, start=1):
            for group in groups:
                name = f"{label}/v_{label}_{group}_c01.avi"
                rows["test" if group == tested else "train"].append(name if group == tested else f"{name} {index}")
        for part, lines in rows.items():
            (lists / f"{part}list{number:02d}.txt").write_text("\r\n".join(lines) + "\r\n")
    return root


def write_hmdb51(root):
    """Writes `hmdb51_org/CLASS/NAME.avi` and the lists of two classes; one clip of each is in neither part."""
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    for label in ("run", "shoot_bow"):
        names = [AWKWARD.replace("_run_", f"_{label}_"), f"Film_{label}_u_nm_np1_ri_goo_{0}.avi"]
        names += [f"Other Film's_{label}_f_cm_np2_le_bad_{number}.avi" for number in range(2)]
        write_folder(root / "hmdb51_org", pattern="{group}", labels=(label,), groups=names)
        parts = (1, 2, 1, 0)
        lines = [f"{name} {part} " for name, part in zip(names, parts, strict=True)]
        for split in (1, 2, 3):
            (lists / f"{label}_test_split{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_kinetics(root):
    """Writes `train/ID_SSSSSS_EEEEEE.mp4`, `val/` and the annotations; one video of each split is missing."""
    for split, ids in (("train", "abcd"), ("val", "ef")):
        rows = []
        for number, letter in enumerate(ids):
            youtube_id, label = f"-{letter}_3456789A", f"{LABELS[number % 2]}ing things"
            rows.append(
                {"label": label, "youtube_id": youtube_id, "time_start": 5 * number, "time_end": 5 * number + 10}
            )
            name = f"{youtube_id}_{5 * number:06d}_{5 * number + 10:06d}.mp4"
            write_folder(root / "videos" / split / letter, pattern="{group}", labels=("x",), groups=(name,))
        rows.append({"label": f"{LABELS[0]}ing things", "youtube_id": "gone_456789", "time_start": 1, "time_end": 11})
        with (root / f"{split}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows({**row, "time_start": float(row["time_start"])} for row in rows)
    return root


def write_something_something(root):
    """Writes `20bn-something-something-v2/ID.webm` and the annotations; one video of each split is missing."""
    (root / "labels").mkdir(parents=True)
    folder = root / "20bn-something-something-v2"
    templates = ("Pushing [something] from left to right", "Pushing [something] from right to left")
    for split, ids in (("train", (11, 12, 13, 14)), ("validation", (21, 22))):
        names = [f"{number}.webm" for number in ids]
        write_folder(folder / split, pattern="{group}", labels=("x",), groups=names)
        entries = [
            {"id": str(number), "template": templates[number % 2], "label": "", "placeholders": []}
            for number in (*ids, ids[-1] + 1)
        ]
        (root / "labels" / f"{split}.json").write_text(json.dumps(entries))
    return root


def write_weizmann(root, *, groups=GROUPS):
    """Writes `ACTION.zip` with `SUBJECT_ACTION.avi`, as the authors do."""
    write_folder(root / "unpacked", pattern="{group}_{label}.avi", groups=groups)
    for label in LABELS:
        with zipfile.ZipFile(root / f"{label}.zip", "w") as archive:
            for path in sorted((root / "unpacked" / label).iterdir()):
                archive.write(path, path.name)
                path.unlink()
        (root / "unpacked" / label).rmdir()
    (root / "unpacked").rmdir()
    return root


LAYOUTS = {
    "hmdb51": write_hmdb51,
    "kinetics": write_kinetics,
    "something_something": write_something_something,
    "ucf101": write_ucf101,
    "weizmann": write_weizmann,
}
