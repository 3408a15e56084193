"""The devices of a run, and TensorFlow's strategy over them and over the other workers."""

import hashlib
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.errors import AcceleratorMissing, SettingsError
from job.plurals import format_count
from job.settings import DevicesSettings, DtypePolicy
from job.workers.worker_group import SINGLE_WORKER, WorkerGroup

if TYPE_CHECKING:
    import numpy as np

POLICIES: dict[str, DtypePolicy] = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
# NVIDIA's compute capability from which on a GPU computes in bfloat16.
BFLOAT16_CAPABILITY = (8, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
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
        if precision == "auto":
            precision = "bfloat16" if self.bfloat16 else "float32"
        return POLICIES[precision]

    def sum(self, values: "np.ndarray") -> "np.ndarray":
        """Add up what each worker has, float32 of one shape.

        All workers get the same bits, as soon as all of them have asked.
        """
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
        """Whether at least one worker wishes it. All of them wait for each other."""
        import numpy as np

        return bool(self.sum(np.array([wish], np.float32))[0])

    def agree(self, text: str) -> bool:
        """Whether all workers pass the same text. All of them wait for each other."""
        import numpy as np

        digest = hashlib.sha256(text.encode()).digest()
        own = np.frombuffer(digest, np.uint8).astype(np.float32)
        return not self.any(not np.array_equal(self.sum(own), own * self.count))


def join(
    devices: DevicesSettings, group: WorkerGroup = SINGLE_WORKER, *, together: bool = False
) -> Workers:
    """Set up this process's devices. Call it before TensorFlow has computed anything.

    Args:
        devices: what this process may count on.
        group: the workers that train this run.
        together: compute with the other workers. TensorFlow then waits for them without a limit and
            without reacting to SIGTERM, and its strategy takes SIGTERM for itself.

    Raises:
        AcceleratorMissing: fewer GPUs are visible than were promised.
        SettingsError: a rehearsal on a divided CPU is for one worker.
    """
    import tensorflow as tf

    if group.size > 1 and devices.logical_cpus > 1:
        raise SettingsError(
            f"GRAFT_DEVICES_LOGICAL_CPUS={devices.logical_cpus} rehearses several GPUs on one "
            f"machine, and this run has {group.size} workers.",
            "Leave it out, or train with one worker.",
        )
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < devices.gpus:
        visible = format_count(len(gpus), "GPU is", "GPUs are")
        raise AcceleratorMissing(
            f"{visible} visible; GRAFT_DEVICES_GPUS={devices.gpus} promises more.",
            "Check the node's driver and the pod's GPU limit; a retry may land on a good node.",
        )

    import scipy.linalg  # noqa: F401 - so that its BLAS is among those that are limited
    from threadpoolctl import threadpool_limits

    # The solver's sums would differ in their last bits with the number of cores. And its threads
    # wait by spinning: where cores are shared, many small products took ten times as long.
    threadpool_limits(1, user_api="blas")
    # One thread and two threads give different bytes, so the number is fixed and remembered.
    threads = devices.threads or len(os.sched_getaffinity(0))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    for gpu in gpus:
        # Else TensorFlow takes the whole memory of the card, also for a small model.
        tf.config.experimental.set_memory_growth(gpu, True)

    names: tuple[str, ...]
    if together:
        cluster = tf.train.ClusterSpec({"worker": group.addresses})
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            cluster, task_type="worker", task_id=group.index
        )
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        names = strategy.extended.worker_devices
    else:
        strategy, names = _use_local_devices(tf, bool(gpus), devices.logical_cpus)
    counts = f"{format_count(threads, 'thread')}; {format_count(len(names), 'device')}"
    own = Workers(
        strategy=strategy,
        replicas=strategy.num_replicas_in_sync,
        devices=names,
        bfloat16=_compute_in_bfloat16(tf, gpus),
        fingerprint=f"{_processor_name()}; {counts}",
    )
    return own if group.size == 1 else _compare_workers(own, group, together)


def _use_local_devices(tf: Any, gpus: bool, logical_cpus: int) -> tuple[Any, tuple[str, ...]]:
    """The strategy over this process's own devices, and their names."""
    if not gpus and logical_cpus > 1:
        # A rehearsal: MirroredStrategy over parts of one CPU does what it does over several GPUs.
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * logical_cpus
        tf.config.set_logical_device_configuration(cpu, parts)
    devices = tf.config.list_logical_devices("GPU" if gpus else "CPU")
    names = tuple(device.name for device in devices)
    if len(names) > 1:
        return tf.distribute.MirroredStrategy(names), names
    return tf.distribute.get_strategy(), names


def _compare_workers(own: Workers, group: WorkerGroup, together: bool) -> Workers:
    """This worker with what it has to know of the others.

    All of them take one precision, and bytes repeat only where their machines are alike.
    """
    fingerprint = f"{own.fingerprint}; {group.size} workers"
    if not together:
        return replace(own, fingerprint=fingerprint)
    workers = replace(own, index=group.index, count=group.size)
    if not workers.agree(own.fingerprint):
        fingerprint += ", not alike"
    bfloat16 = not workers.any(not own.bfloat16)
    return replace(workers, fingerprint=fingerprint, bfloat16=bfloat16)


def _compute_in_bfloat16(tf: Any, gpus: list[Any]) -> bool:
    """Whether there are GPUs, and all of them compute in bfloat16."""
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        if details.get("compute_capability", (0, 0)) < BFLOAT16_CAPABILITY:
            return False
    return bool(gpus)


def _processor_name() -> str:
    """The CPU's model as Linux names it: another model may round otherwise."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
