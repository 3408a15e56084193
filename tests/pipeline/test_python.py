"""Graft from Python: the code of its guide, run as it is written there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.pipeline.conftest import ONE_FORMAT
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


def test_the_guides_code_trains_predicts_and_meets_an_error(
    tiny: dict[str, str], pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "photos")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    (tmp_path / "notebook.py").write_text("\n".join([*blocks, MORE]))
    given = {name: tiny[name] for name in tiny if name not in ("GRAFT_NAME", "GRAFT_DATASET_URI")}
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=tmp_path,
        env=os.environ | given | ONE_FORMAT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "dataset, exit code 3: " in done.stdout
    assert str(tmp_path / "models/flowers/releases") in done.stdout
    for name in ("blue", "green", "red"):
        assert f"photos/{name}/7-0.png" in done.stdout

    seen = json.loads(done.stdout.rpartition("SEEN ")[2])
    assert seen["status"] == ["released", "unchanged", "released"]
    assert {"survey", "training", "release"} <= set(seen["phases"])
    assert (seen["runs"], seen["same"], seen["classes"]) == (2, True, ["blue", "green", "red"])
    assert seen["one"] == ["photos/red/7-0.png", 1, True]
    assert seen["broken"] == [
        None, "is not an image that decodes; expected JPEG, PNG, BMP, GIF or WebP",
    ]  # fmt: skip


def test_importing_the_package_imports_no_other_package() -> None:
    script = "import sys, job; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert [name for name in loaded if name.partition(".")[0] == "job"] == ["job"]
    assert not {"tensorflow", "keras", "numpy", "boto3", "pydantic", "rich"} & set(loaded)
