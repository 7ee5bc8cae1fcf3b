"""The notebooks of docs/notebooks run from their first cell to their last, on small made videos."""

import json
import os
import pathlib
import re

import numpy as np
import pytest
from made_videos import write_video
from video_files import GROUPS, write_folder

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "docs/notebooks"
# Each builds on the run of the first.
ORDER = ("train_on_your_folder", "does_your_data_need_motion", "a_long_video")


def test_every_notebook_is_run_and_holds_no_output():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(ORDER)
    for name in ORDER:
        cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
        assert not any(cell.get("outputs") for cell in cells)
        links = re.findall(r"\]\((\w+)\.ipynb\)", "".join("".join(cell["source"]) for cell in cells))
        assert set(links) <= set(ORDER)


@pytest.mark.slow
def test_the_notebooks_run_one_after_the_other(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="the extra 'notebooks' is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra 'notebooks' is not installed")
    pytest.importorskip("ipykernel", reason="the extra 'notebooks' is not installed")
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOKS.parents[1]), os.environ.get("PYTHONPATH", "")]))
    write_folder(tmp_path / "videos", groups=(*GROUPS, "eve", "fay", "gus", "hal"))
    frames = np.random.default_rng(0).integers(0, 256, (150, 24, 32, 3)).astype(np.uint8)
    write_video(tmp_path / "long.mp4", frames)
    for name in ORDER:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        parameters = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
        assert len(parameters) == 1
        parameters[0].source = parameters[0].source.replace('"folder"', '"folder:tiny"')
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        shown = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
        assert shown, name
        assert all(html.startswith('<div class="vjax">') for html in shown)
        assert not any("Traceback" in str(output) for output in outputs)
