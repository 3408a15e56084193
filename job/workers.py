"""Which worker am I: the devices of this process, the strategy over them, and the request to stop.

TensorFlow is imported inside `join`, so that whoever only needs `Stop` does not pay for it.
"""

import contextlib
import os
import platform
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from job.errors import AcceleratorMissing, Interrupted
from job.settings import DevicesSettings

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
POLICIES: dict[str, Precision] = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclass(frozen=True, slots=True)
class Workers:
    """The devices that one run computes on.

    Attributes:
        strategy: TensorFlow's.
        replicas: its number of devices.
        devices: their names.
        bfloat16: whether all of them compute in bfloat16.
        fingerprint: what must be equal for equal bytes.
    """

    strategy: Any
    replicas: int
    devices: tuple[str, ...]
    bfloat16: bool
    fingerprint: str

    def dtype_policy(self, precision: str) -> Precision:
        """The Keras dtype policy for `GRAFT_TRAINING_PRECISION`."""
        chosen = {"auto": "bfloat16" if self.bfloat16 else "float32"}.get(precision, precision)
        return POLICIES[chosen]


class Terminated(BaseException):
    """SIGTERM where it struck. It is no `Exception`, which a library (logging, for one) would catch and forget.

    Attributes:
        run_id: of the run that it ended, once that is known.
    """

    run_id: str | None = None

    def told(self) -> Interrupted:
        """The same as an error for people."""
        error = Interrupted("SIGTERM was received.", "Start the run again: it goes on from its checkpoint.")
        error.run_id = self.run_id
        return error


class Stop:
    """SIGTERM as `Terminated`: at once, or as `Interrupted` at the next safe point while a phase defers it."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def install(self) -> None:
        """Take SIGTERM. TensorFlow's multi-worker strategy takes it too, so install after that is made (facts 3)."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def ignore(self) -> None:
        """The outcome is known: a stop that comes now would only keep it from being told."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            return  # The first one is on its way out, and a second one would cut its clearing up short.
        self.requested = True
        if not self._deferred:
            raise Terminated

    def check(self) -> None:
        """Raise `Interrupted` if a stop was requested."""
        if self.requested:
            raise Terminated().told()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the phase itself asks `requested` between steps; what it leaves undone is raised at the end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()


def join(devices: DevicesSettings) -> Workers:
    """Set up this process's devices; call it before TensorFlow has computed anything.

    Raises:
        AcceleratorMissing: fewer GPUs are visible than were promised.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < devices.gpus:
        raise AcceleratorMissing(
            f"{len(gpus)} GPUs are visible; GRAFT_DEVICES_GPUS={devices.gpus} promises more.",
            "Check the node's driver and the pod's GPU limit; a retry may land on a good node.",
        )
    threads = devices.threads or len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus and devices.logical_cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices.logical_cpus)
    tf.config.experimental.enable_op_determinism()
    names = tuple(device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU"))
    strategy = tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()
    bfloat16 = bool(gpus) and all(_capability(tf, gpu) >= (8, 0) for gpu in gpus)
    return Workers(strategy, len(names), names, bfloat16, f"{_processor()}; {threads} threads; {len(names)} devices")


def _capability(tf: Any, gpu: Any) -> tuple[int, int]:
    """NVIDIA's compute capability; bfloat16 comes with 8.0."""
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))


def _processor() -> str:
    """The CPU's model as Linux names it: another model may round otherwise."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
