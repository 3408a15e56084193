"""What the report says beside the scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """What the report says beside the scores: plain values, without times and host names.

    A release that is evaluated again has no plan, history, weights and exports: they are empty. The
    sections of the page for what is empty vanish.

    Attributes:
        name, run_id: of the run.
        backbone: its Keras name.
        image_size: side of the square input in pixels.
        image_fit: how an image becomes this square: letterbox, crop or squash.
        plan: mode (none | part | all), reason, rule (who decided), cut (a layer or None), stages,
            and the number of trainable and total parameters, as `transfer.Plan.facts` gives them.
        gate: metric (a key of `METRICS`) and min_score.
        weights: origin, licence and sha256 of the pre-trained weights.
        source, digest: the data set's address and the digest of its content.
        left_out: (image, reason) of each image that was not used.
        contradictions: for each content under several labels, the name and label of its images.
        duplicates: (image, reason) of each image whose content occurred before.
        warnings: sentences about the data.
        history: rows in order: stage, epoch, loss and scores, among them val_loss and val_<metric>.
            A row of a solved head has a penalty instead of an epoch.
        exports: format, path, max_difference of a probability, top1_agreement and bytes, as
            `export.Parity` has them.
        judged_before: earlier releases that were judged on these very test images.
        settings: the values used, nested by group.
        versions: by package.
        measurement: what was measured of the data: metric, images, judged, folds, profile, curve,
            doubling, earlier_stages_add, kind (like | unlike) and amount (little | much).
        backbones: the backbones that were compared, where the run chose one: name, parameters,
            milliseconds for an image, image_size, metric, score with low and high, images that the
            head has learnt from, judged (images that judged it), chosen and reason.
        candidates: what was compared: name, mode, pooling, cut, score with low and high, work as a
            share of one plain run of `all`, epochs, of_epochs, chosen and reason.
        refinements: what followed: name, before, after, kept, undone and detail. `undone` says that
            nothing of the training was kept.
        suspects: rows of images whose label may be wrong (image, label, likelier, probability,
            part), images, accuracy and accuracy_without on the test images.
        promotion: `publish.Decision.record()`.
        champion: run id of the champion that this model was to replace. None if there was none.
        evaluated: URI of a release that was judged on other images than those of its run. None in
            the report of a run.
        image_files: the files of all images on this machine, by name. Only the page's pictures are
            made of them.
    """

    name: str
    run_id: str
    backbone: str
    image_size: int
    image_fit: str = "letterbox"
    plan: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any]
    weights: Mapping[str, str] = field(default_factory=dict)
    source: str
    digest: str
    left_out: tuple[tuple[str, str], ...] = ()
    contradictions: tuple[tuple[Mapping[str, str], ...], ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    exports: tuple[Mapping[str, Any], ...] = ()
    judged_before: int = 0
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    measurement: Mapping[str, Any] = field(default_factory=dict)
    backbones: tuple[Mapping[str, Any], ...] = ()
    candidates: tuple[Mapping[str, Any], ...] = ()
    refinements: tuple[Mapping[str, Any], ...] = ()
    suspects: Mapping[str, Any] = field(default_factory=dict)
    promotion: Mapping[str, Any] = field(default_factory=dict)
    champion: str | None = None
    evaluated: str | None = None
    image_files: Mapping[str, Path] = field(default_factory=dict)
