"""The devices that a run computes on, and TensorFlow's strategy over them and over the other workers."""

import hashlib
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.errors import AcceleratorMissing, SettingsError
from job.settings import DevicesSettings, DtypePolicy
from job.workers.worker_group import SINGLE_WORKER, WorkerGroup

if TYPE_CHECKING:
    import numpy as np

POLICIES: dict[str, DtypePolicy] = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


@dataclass(frozen=True, slots=True)
class Workers:
    """The devices that one run computes on.

    Attributes:
        strategy: TensorFlow's.
        replicas: its number of devices, those of the other workers among them.
        devices: the names of this worker's.
        bfloat16: whether all of them compute in bfloat16.
        fingerprint: what must be equal for equal bytes.
        index: which worker this is.
        count: how many compute together.
    """

    strategy: Any
    replicas: int
    devices: tuple[str, ...]
    bfloat16: bool
    fingerprint: str
    index: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this is the one worker that writes what all of them read."""
        return self.index == 0

    def dtype_policy(self, precision: str) -> DtypePolicy:
        """The Keras dtype policy for `GRAFT_TRAINING_PRECISION`."""
        chosen = {"auto": "bfloat16" if self.bfloat16 else "float32"}.get(precision, precision)
        return POLICIES[chosen]

    def sum(self, values: "np.ndarray") -> "np.ndarray":
        """Add up what each worker has, float32 of one shape: the same bits for all, as soon as all have asked."""
        if self.count == 1:
            return values
        import numpy as np

        nothing = np.zeros_like(values)
        own = self.strategy.experimental_distribute_values_from_function(
            # The devices of one worker hold the same values: they count once.
            lambda device: (
                nothing if device.replica_id_in_sync_group % len(self.devices) else values
            )
        )
        total: np.ndarray = self.strategy.reduce("SUM", own, axis=None).numpy()
        return total

    def wait(self) -> None:
        """Until all workers are here."""
        self.any(False)

    def any(self, wish: bool) -> bool:
        """Whether at least one worker wishes it; all wait for each other."""
        import numpy as np

        return bool(self.sum(np.array([wish], np.float32))[0])

    def agree(self, text: str) -> bool:
        """Whether all workers say the same; all wait for each other."""
        import numpy as np

        said = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8).astype(np.float32)
        return not self.any(not np.array_equal(self.sum(said), said * self.count))


def join(
    devices: DevicesSettings, worker_group: WorkerGroup = SINGLE_WORKER, *, together: bool = False
) -> Workers:
    """Set up this process's devices; call it before TensorFlow has computed anything.

    Args:
        devices: what this process may count on.
        worker_group: who trains this run.
        together: compute with the other workers. It waits for them without a limit, deaf to
            SIGTERM, and its strategy takes SIGTERM for itself.

    Raises:
        AcceleratorMissing: fewer GPUs are visible than were promised.
        SettingsError: a rehearsal on a divided CPU is for one worker.
    """
    import tensorflow as tf

    if worker_group.size > 1 and devices.logical_cpus > 1:
        raise SettingsError(
            f"GRAFT_DEVICES_LOGICAL_CPUS={devices.logical_cpus} rehearses several GPUs on one machine; this run has "
            f"{worker_group.size} workers.",
            "Leave it out, or train with one worker.",
        )
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < devices.gpus:
        raise AcceleratorMissing(
            f"{len(gpus)} GPUs are visible; GRAFT_DEVICES_GPUS={devices.gpus} promises more.",
            "Check the node's driver and the pod's GPU limit; a retry may land on a good node.",
        )
    threads = devices.threads or len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    bfloat16 = bool(gpus) and all(_capability(tf, gpu) >= (8, 0) for gpu in gpus)
    strategy, names = (
        _joined(tf, worker_group) if together else _local(tf, bool(gpus), devices.logical_cpus)
    )
    machine = f"{_processor()}; {threads} threads; {len(names)} devices"
    own = Workers(strategy, strategy.num_replicas_in_sync, names, bfloat16, machine)
    return _introduced(own, worker_group, together)


def _local(tf: Any, gpus: bool, logical_cpus: int) -> tuple[Any, tuple[str, ...]]:
    """The strategy over this process's own devices, and their names."""
    if not gpus and logical_cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * logical_cpus
        )
    names = tuple(
        device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")
    )
    return tf.distribute.MirroredStrategy(names) if len(
        names
    ) > 1 else tf.distribute.get_strategy(), names


def _joined(tf: Any, worker_group: WorkerGroup) -> tuple[Any, tuple[str, ...]]:
    """The strategy over all workers, and the names of this one's devices."""
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": worker_group.addresses}),
        task_type="worker",
        task_id=worker_group.index,
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    return strategy, strategy.extended.worker_devices


def _introduced(own: Workers, worker_group: WorkerGroup, together: bool) -> Workers:
    """A worker that knows of the others: all take one precision, and bytes repeat only where machines are alike."""
    if worker_group.size == 1:
        return own
    fingerprint = f"{own.fingerprint}; {worker_group.size} workers"
    if not together:
        return replace(own, fingerprint=fingerprint)
    team = replace(own, index=worker_group.index, count=worker_group.size)
    alike = "" if team.agree(own.fingerprint) else ", not alike"
    return replace(team, fingerprint=fingerprint + alike, bfloat16=not team.any(not own.bfloat16))


def _capability(tf: Any, gpu: Any) -> tuple[int, int]:
    """NVIDIA's compute capability; bfloat16 comes with 8.0."""
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))


def _processor() -> str:
    """The CPU's model as Linux names it: another model may round otherwise."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
