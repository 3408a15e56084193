"""Graft from Python: the code of its guide, run as it is written there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import job
from job.errors import DatasetError
from tests.pipeline.conftest import ONE_FORMAT
from tests.telemetry.test_http import Gateway
from tools.paths import ROOT

GUIDE = ROOT / "docs" / "guides" / "python.md"
# After the code of the guide, in the same process: what a notebook may do next.
MORE = """
import json
from pathlib import Path
again = job.train("photos", "models", name="flowers", training={"epochs": 5})
other = job.train(Path("photos"), "models", name="flowers", seed=2)
champion = job.load("models/flowers")
one, broken = champion.predict(["photos/red/7-0.png", "photos/notes.txt"], top=1)
print("SEEN", json.dumps({
    "status": [result.status, again.status, other.status],
    "phases": sorted(result.seconds),
    "runs": len({result.run_id, other.run_id}),
    "same": champion.release in (result.release, other.release),
    "classes": champion.classes,
    "one": [one.image, len(one.top), one.label in champion.classes],
    "broken": [broken.label, broken.error],
}))
"""


def run_python(folder: Path, tiny: dict[str, str], *arguments: str) -> str:
    """Run Python in a folder, with what code of the guide leaves to the environment: its stdout."""
    given = {name: tiny[name] for name in tiny if name not in ("GRAFT_NAME", "GRAFT_DATASET_URI")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | given | ONE_FORMAT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.runs
def test_the_guides_code_trains_predicts_and_meets_an_error(
    tiny: dict[str, str], pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "photos")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    (tmp_path / "notebook.py").write_text("\n".join([*blocks, MORE]))
    output = run_python(tmp_path, tiny, "notebook.py")
    assert "dataset, exit code 3: " in output
    assert str(tmp_path / "models/flowers/releases") in output
    for name in ("blue", "green", "red"):
        assert f"photos/{name}/7-0.png" in output

    seen = json.loads(output.rpartition("SEEN ")[2])
    assert seen["status"] == ["released", "unchanged", "released"]
    assert {"survey", "training", "release"} <= set(seen["phases"])
    assert (seen["runs"], seen["same"], seen["classes"]) == (2, True, ["blue", "green", "red"])
    assert seen["one"] == ["photos/red/7-0.png", 1, True]
    assert seen["broken"] == [
        None, "is not an image that decodes; expected JPEG, PNG, BMP, GIF or WebP",
    ]  # fmt: skip


# Does what a notebook does: runs the cells in order, and shows the last value of each.
NOTEBOOK = ROOT / "docs" / "guides" / "python.ipynb"
KERNEL = """
import ast, json, sys
names, shown = {"__name__": "__main__"}, []
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        html = getattr(value, "_repr_html_", None)
        shown.append(html() if html else value)
print("SEEN", json.dumps(shown))
"""


@pytest.mark.runs
def test_the_notebook_runs_from_its_first_cell_to_its_last(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    output = run_python(tmp_path, tiny, "-c", KERNEL, str(NOTEBOOK))
    assert "dataset\n3\n" in output
    summary, again, files, predictions = json.loads(output.rpartition("SEEN ")[2])
    assert summary.startswith("<pre>released in ")
    assert "report.html" in summary
    assert again == "unchanged"
    assert {"manifest.json", "report.html", "saved_model"} <= set(files)
    assert predictions[0][0] in ("blue", "green", "red")
    assert predictions[1][0] is None


def test_the_notebook_holds_no_outputs_and_has_the_form_of_its_version() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_a_run_that_fails_is_told_to_those_who_watch_it_and_raises(tmp_path: Path) -> None:
    gateway = Gateway()
    try:
        with pytest.raises(DatasetError, match="no-such-folder"):
            job.train(
                tmp_path / "no-such-folder",
                tmp_path / "models",
                name="flowers",
                cache={"dir": tmp_path / "cache"},
                telemetry={"push_url": gateway.url},
            )
    finally:
        gateway.close()
    ((_, path, body),) = gateway.requests
    assert path == "/metrics/job/graft/model/flowers"
    assert "graft_last_success_timestamp_seconds" not in body


def test_importing_the_package_imports_no_other_package() -> None:
    # A notebook asks for the names to complete.
    script = "import sys, job; assert {'train', 'load'} <= set(dir(job)); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert [name for name in loaded if name.partition(".")[0] == "job"] == ["job"]
    assert not {"tensorflow", "keras", "numpy", "boto3", "pydantic", "rich"} & set(loaded)
