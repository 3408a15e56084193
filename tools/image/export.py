"""Take a built image out of the engine, as a function of its content and the given date."""

from datetime import UTC, datetime
from typing import Any

from tools.image.engine import Engine
from tools.image.oci import CONFIG, Artifact, Descriptor, Layout

EXPORTERS = ("podman", "buildah")
# Annotations that tell who pulls an image what it is, without its configuration.
ANNOTATED = (
    "title",
    "description",
    "licenses",
    "version",
    "revision",
    "source",
    "base.name",
    "base.digest",
)


def export_image(engine: Engine, image: str, layout: Layout, epoch: int) -> Descriptor:
    """Write the image into the layout under its tag, dated `epoch` seconds after 1970.

    Raises:
        SystemExit: the engine is docker, which does not write layouts with compressed layers.
    """
    if engine.program not in EXPORTERS:
        raise SystemExit(
            f"{engine.program} cannot write an OCI layout: publishing takes "
            f"{' or '.join(EXPORTERS)}. Install one of them."
        )
    tag = image.rpartition(":")[2]
    engine.run("push", "--quiet", "--format=oci", image, f"oci:{layout.folder}:{tag}")
    written = layout.find(tag)
    manifest = layout.read_json(written)
    config = date_config(layout.read_json(Descriptor.parse(manifest["config"])), epoch)
    labels = config["config"].get("Labels", {})
    names = [f"org.opencontainers.image.{name}" for name in ("created", *ANNOTATED)]
    final = layout.add_manifest(
        Artifact(
            config=layout.add_json(config, CONFIG),
            layers=tuple(Descriptor.parse(layer) for layer in manifest["layers"]),
            annotations={name: labels[name] for name in names if labels.get(name)},
        )
    )
    layout.tag(tag, final)
    layout.drop_unused_blobs()
    return layout.find(tag)


def date_config(config: dict[str, Any], epoch: int) -> dict[str, Any]:
    """The configuration of an image as made at that second, without traces of the build."""
    date = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # A comment names the image before that step, which is another one in each build.
    history = [
        {key: value for key, value in step.items() if key != "comment"} | {"created": date}
        for step in config.get("history", [])
    ]
    labels = {**config["config"].get("Labels", {}), "org.opencontainers.image.created": date}
    # buildah's own version: another one that gives the same image should not give another digest.
    labels.pop("io.buildah.version", None)
    inner = {**config["config"], "Labels": labels}
    return {**config, "created": date, "history": history, "config": inner}
