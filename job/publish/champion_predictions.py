"""What the champion predicts for today's test images. No image is computed twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from job.identity import digest
from job.kept_rows import RowStore
from job.release import Manifest

if TYPE_CHECKING:
    from job.audit import Example

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FrozenFeatures:
    """Features of today's test images, by the backbone as it was pre-trained.

    Attributes:
        fields: what today's manifest will record of the backbone: settings, versions, weights and
            backbone.
        by_pooling: the features that a linear head takes, by its pooling: float32 [images, d].
    """

    fields: Mapping[str, Any]
    by_pooling: Mapping[str, FloatArray]

    def take_for(self, manifest: Manifest) -> FloatArray | None:
        """The features that the head of a release takes, if its backbone is this very one."""
        plan = manifest.fields["plan"]
        own = _identify_backbone(self.fields)
        is_linear = manifest.fields["settings"].get("GRAFT_HEAD_UNITS") == 0
        if plan.get("mode") != "none" or not is_linear or own is None:
            return None
        if _identify_backbone(manifest.fields) != own:
            return None
        return self.by_pooling.get(plan.get("pooling", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionModel:
    """The model of the champion.

    Attributes:
        folder: its SavedModel, verified.
        manifest: the champion's.
        cache: folder in which predictions are kept.
        machine: what must be equal for equal bytes, besides the model and the images.
    """

    folder: Path
    manifest: Manifest
    cache: Path
    machine: str

    def predict(self, examples: Sequence["Example"], features: FloatArray | None) -> FloatArray:
        """The probabilities of images: float32 [len(examples), the champion's classes].

        Args:
            examples: the images.
            features: what the champion's head takes of each, if that is known.

        Raises:
            ReleaseError: the model cannot be loaded here.
            SettingsError: the predictions cannot be kept.
        """
        # Imported here, because TensorFlow takes seconds and most uses of this room need none.
        from job.publish.serving import TENSORFLOW, ServedModel, apply_linear_head

        if features is not None:
            return apply_linear_head(self.folder, features, len(self.manifest.classes))
        name = digest([self.manifest.sha256, TENSORFLOW, self.machine])
        shape = (len(self.manifest.classes),)
        kept = RowStore(self.cache / name, shape, np.dtype(np.float32))
        images = [example.sha256 for example in examples]
        missing = kept.find_missing(images)
        if missing:
            # Never with trust: nobody has said so of a champion, and a run asks nobody.
            model = ServedModel(self.folder, len(self.manifest.classes))
            paths = [examples[place].path for place in missing]
            names = [images[place] for place in missing]
            for _ in kept.write_shard(names, model.classify_batches(paths)):
                pass
        return kept.open_rows(images)[:]


def _identify_backbone(fields: Mapping[str, Any]) -> list[Any] | None:
    """What decides the features of a backbone that stays as it was pre-trained.

    None if a manifest does not record it, or if its weights were not read from a file.
    """
    try:
        weights = fields["weights"]["sha256"]
        backbone = fields["backbone"]
        identity = [
            # The code, TensorFlow and Keras in their versions.
            fields["versions"]["code"],
            backbone["name"],
            backbone["image_size"],
            fields["settings"]["GRAFT_BACKBONE_IMAGE_FIT"],
            weights,
        ]
    except KeyError:
        return None
    return identity if weights else None
