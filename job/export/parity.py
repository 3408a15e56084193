"""The comparison without which nothing is released."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from job.errors import ReleaseError
from job.export.request import Parity


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """What every export must reach.

    Attributes:
        trained: float32 [images, classes], the trained model's probabilities.
        kernel_bytes: size of the weights that no converter can fold away. Scales and offsets may be
            folded into a neighbour, so tensors of one dimension do not count.
    """

    trained: npt.NDArray[np.float32]
    kernel_bytes: int

    def check(
        self,
        name: str,
        bundle: Path,
        path: Path,
        received: npt.NDArray[np.float32],
        tolerance: float,
    ) -> Parity:
        """Compare an export with the trained model on the same images, [batch, classes] with the padding at the end.

        Two best classes can only swap within `tolerance` when their probabilities lie closer than
        twice that.

        Raises:
            ReleaseError: the export is smaller than its weights, or its probabilities differ by
            more than `tolerance`.
        """
        size = size_of(path)
        if size < self.kernel_bytes:
            raise _refuse(
                name, f"{size} bytes, smaller than its weights of {self.kernel_bytes} bytes"
            )
        drift = self.measure(name, bundle, path, received)
        # Written so that NaN is refused.
        if not drift.max_difference <= tolerance:
            raise _refuse(
                name,
                f"a probability {drift.max_difference:.3g} away from the trained model (at most {tolerance:.3g}); "
                f"{drift.top1_agreement:.1%} of the best classes agree",
            )
        return drift

    def measure(
        self, name: str, bundle: Path, path: Path, received: npt.NDArray[np.float32]
    ) -> Parity:
        """The drift alone, without judging it."""
        received = received[: len(self.trained)]
        difference = float(np.max(np.abs(received - self.trained)))
        agreement = float(np.mean(received.argmax(axis=1) == self.trained.argmax(axis=1)))
        return Parity(
            name, path.relative_to(bundle).as_posix(), difference, agreement, size_of(path)
        )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    return sum(
        each.stat().st_size
        for each in ([path] if path.is_file() else path.rglob("*"))
        if each.is_file()
    )


def _refuse(name: str, has: str) -> ReleaseError:
    return ReleaseError(
        f"The {name} export has {has}.",
        "Nothing was released. Leave the format out of GRAFT_EXPORT_FORMATS, or report the backbone and the settings.",
    )
