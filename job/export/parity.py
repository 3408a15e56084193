"""Compare an export with the trained model. Without it nothing is released."""

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
        bundle: folder of the exports.
        trained: float32 [images, classes], the trained model's probabilities.
        kernel_bytes: size of the weights that no converter can fold away. Scales and offsets may be
            folded into a neighbour, so tensors of one dimension do not count.
    """

    bundle: Path
    trained: npt.NDArray[np.float32]
    kernel_bytes: int

    def check(
        self,
        name: str,
        path: Path,
        received: npt.NDArray[np.float32],
        tolerance: float,
    ) -> Parity:
        """Compare an export with the trained model on the same images.

        Two best classes can only swap within `tolerance` when their probabilities are closer than
        twice that.

        Args:
            name: of the format.
            path: file or folder of the export.
            received: its probabilities, float32 [batch, classes], with the padding at the end.
            tolerance: largest difference of a probability.

        Raises:
            ReleaseError: the export is smaller than its weights, or a probability differs by more
                than `tolerance`.
        """
        size = measure_size(path)
        if size < self.kernel_bytes:
            raise _refuse_export(
                name,
                f"{size} bytes, smaller than its weights of {self.kernel_bytes} bytes",
            )
        parity = self.measure(name, path, received)
        # Written so that NaN is refused.
        if not parity.max_difference <= tolerance:
            raise _refuse_export(
                name,
                f"a probability {parity.max_difference:.3g} away from the trained model "
                f"(at most {tolerance:.3g}); {parity.top1_agreement:.1%} of the best classes agree",
            )
        return parity

    def measure(self, name: str, path: Path, received: npt.NDArray[np.float32]) -> Parity:
        """Measure how far an export is from the trained model, without judging it."""
        # The rows after them are padding.
        received = received[: len(self.trained)]
        difference = np.abs(received - self.trained)
        received_classes = received.argmax(axis=1)
        trained_classes = self.trained.argmax(axis=1)
        is_equal = received_classes == trained_classes
        return Parity(
            format=name,
            path=path.relative_to(self.bundle).as_posix(),
            max_difference=float(np.max(difference)),
            top1_agreement=float(np.mean(is_equal)),
            bytes=measure_size(path),
        )


def measure_size(path: Path) -> int:
    """Count the bytes of a file, or of all files under a folder."""
    if path.is_file():
        return path.stat().st_size
    size = 0
    for each in path.rglob("*"):
        if each.is_file():
            size += each.stat().st_size
    return size


def _refuse_export(name: str, finding: str) -> ReleaseError:
    return ReleaseError(
        f"The {name} export has {finding}.",
        "Nothing was released. Leave the format out of GRAFT_EXPORT_FORMATS, or report the "
        "backbone and the settings.",
    )
