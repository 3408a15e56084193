"""Images from static programs, since no image registry is there."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.cluster.layout import PAUSE_IMAGE, TOOLS_IMAGE

USER = "65532:65532"


def write(folder: Path) -> tuple[Path, ...]:
    """Write the images as archives that `ctr images import` takes."""
    pause = _make_tar({"pause": Path("/usr/bin/catatonit").read_bytes()})
    applets = subprocess.run(
        ["busybox", "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    tools = _make_tar({"bin/busybox": Path("/bin/busybox").read_bytes(), **links})
    return (
        _write_archive(folder / "pause.tar", PAUSE_IMAGE, pause, ["/pause", "-P"]),
        _write_archive(folder / "tools.tar", TOOLS_IMAGE, tools, ["/bin/sh"]),
    )


def write_program(path: Path, name: str, program: Path, called: str) -> Path:
    """Write an image of one static program, which is `/called` in it."""
    return _write_archive(path, name, _make_tar({called: program.read_bytes()}), [f"/{called}"])


def _write_archive(path: Path, name: str, layer: bytes, entrypoint: list[str]) -> Path:
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": entrypoint,
                "User": USER,
                "Env": ["PATH=/bin"],
                "WorkingDir": "/",
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()],
            },
        }
    ).encode()
    manifest: list[dict[str, Any]] = [
        {"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}
    ]
    path.write_bytes(
        _make_tar(
            {
                "manifest.json": json.dumps(manifest).encode(),
                "config.json": config,
                "layer.tar": layer,
            }
        )
    )
    return path


def _make_tar(files: Mapping[str, bytes | str]) -> bytes:
    """A tar of files by their contents, and of symbolic links by what they point at."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return target.getvalue()
