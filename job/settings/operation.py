"""The groups of the settings that only say how a run is carried out. None changes the model.

As in `groups`, a docstring follows each field.
"""

from pathlib import Path

from pydantic import SecretStr

from job.settings.fields import Group, LocalFolder, SecretWebAddress, runs


class CacheSettings(Group):
    """Local disk, which outlives a pod where it is a volume."""

    # The default is validated too, since it has to be expanded like any other value.
    dir: LocalFolder = runs(Path("~/.cache/graft"), validate_default=True)
    """Folder for images, weights, features and decoded images, all kept by content digest."""
    limit: int | None = runs(None, gt=0)
    """Bytes that the cache may take. Empty is the free space of the disk. The chart sets it below
    the size of the volume."""


class ResultSettings(Group):
    """Where the outcome is written."""

    path: Path | None = runs(None)
    """File for the result's JSON, in addition to the termination message and the log's last
    line."""


class TelemetrySettings(Group):
    """How a run is observed."""

    port: int = runs(8000, ge=0, le=65_535)
    """Port of `/metrics`, `/healthz` and the live page. 0 serves nothing."""
    host: str = runs("")
    """Address to listen on. `*` is every address. Empty is the loopback where a person watches the
    run on a terminal, else every address."""
    push_url: str = runs("", pattern=r"^(https?://.+)?$")
    """Prometheus Pushgateway for the outcome of the run. Empty pushes nothing."""
    webhook_url: SecretWebAddress = runs(SecretStr(""))
    """Address that gets the result of the run as a CloudEvent when the run ends. A user and a
    password in it become basic authentication. Empty sends nothing."""
    webhook_secret: SecretStr = runs(SecretStr(""))
    """Secret that signs this event: `X-Graft-Signature-256` holds the HMAC-SHA256 of the body.
    Empty does not sign it."""

    def without_webhook(self) -> "TelemetrySettings":
        """The same settings for a worker that is not the chief."""
        return self.model_copy(update={"webhook_url": SecretStr("")})


class CheckpointSettings(Group):
    """How often the state of the training is made durable."""

    interval_seconds: float = runs(300, ge=0, allow_inf_nan=False)
    """Seconds between checkpoints in the bucket. The end of each stage and SIGTERM save one as
    well."""


class PlanSettings(Group):
    """What `graft plan` computes beside time and memory."""

    price_per_hour: float | None = runs(None, ge=0, allow_inf_nan=False)
    """Price of the machine for one hour, in any currency. `graft plan` then names the cost of a
    run. Empty names none."""


class DevicesSettings(Group):
    """The hardware that this run may count on."""

    gpus: int = runs(0, ge=0)
    """GPUs promised to this process: with fewer the run ends with exit code 75. 0 promises nothing
    and uses those that are visible."""
    logical_cpus: int = runs(1, ge=1, le=64)
    """Split the CPU into so many devices under MirroredStrategy: a rehearsal of several GPUs."""
    threads: int = runs(0, ge=0, le=1024)
    """CPU threads of one operation. 0 takes all cores. Another number changes the last bits of the
    results."""
    join_seconds: float = runs(900, gt=0, allow_inf_nan=False)
    """How long one of several workers waits for the others before it ends with exit code 76. Longer
    than a Job's back-off."""
