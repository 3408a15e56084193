"""What a run trains on, and where its outcome goes."""

from dataclasses import dataclass

from job import storage
from job.checkpoint import CheckpointStore
from job.dataset import Dataset
from job.settings import Settings
from job.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """What a run trains on. It can be pickled, for the process that joins other workers.

    Attributes:
        settings: of the run.
        data: the images on this disk.
        run_id: digest of what shapes the model.
    """

    settings: Settings
    data: Dataset
    run_id: str

    @property
    def registry(self) -> Store:
        """The store of this model: its releases, its champion and the state of its runs."""
        return storage.connect(self.settings.output.uri).child(self.settings.name)

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where the state of the training is kept until the release."""
        folder = self.settings.cache.dir / "checkpoints" / self.run_id
        store = self.registry.child(f"runs/{self.run_id}/checkpoints")
        interval = self.settings.checkpoint.interval_seconds
        return CheckpointStore(
            folder=folder, store=store, interval_seconds=interval, run_id=self.run_id
        )
