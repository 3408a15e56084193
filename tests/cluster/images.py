"""Two images from two static Debian programs: there is no image registry here, and none is needed."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from tests.cluster.layout import PAUSE_IMAGE, TOOLS_IMAGE

USER = "65532:65532"


def write(folder: Path) -> tuple[Path, ...]:
    """Write the images as archives that `ctr images import` takes."""
    pause = _archive(folder / "pause.tar", PAUSE_IMAGE, {"pause": Path("/usr/bin/catatonit")}, ["/pause", "-P"])
    tools = _archive(folder / "tools.tar", TOOLS_IMAGE, {"bin/busybox": Path("/bin/busybox")}, ["/bin/busybox", "sh"])
    return pause, tools


def _archive(path: Path, name: str, files: dict[str, Path], entrypoint: list[str]) -> Path:
    layer = _tar({file: source.read_bytes() for file, source in files.items()})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": entrypoint, "User": USER, "Env": ["PATH=/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
    ).encode()
    manifest: list[dict[str, Any]] = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    path.write_bytes(_tar({"manifest.json": json.dumps(manifest).encode(), "config.json": config, "layer.tar": layer}))
    return path


def _tar(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()
