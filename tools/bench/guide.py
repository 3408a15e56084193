"""The recipe of the Keras guide "Transfer learning & fine-tuning", as a program of its own.

    python -m tools.bench.guide PICTURES FOLDER SIDE [HEAD_EPOCHS TUNING_EPOCHS] [--judge]

Two epochs of a Dense layer on the frozen backbone, then one epoch of everything at a small learning
rate. The backbone and its weights are those of the job: the guide's own cannot be had everywhere.
Writes `model.keras` and `guide.json` into FOLDER: the accuracy on the test pictures, and the
seconds and the seconds of CPU of each epoch. The first one of a stage builds its graph too. With
`--judge`, `guide.json` has the accuracy after each epoch too.
"""

import argparse
import json
import os
import time
from pathlib import Path

import keras
import tensorflow as tf

BATCH = 32


class EpochTimes(keras.callbacks.Callback):
    """Notes what each epoch takes: [seconds, seconds of CPU]."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[list[float]] = []

    def on_epoch_begin(self, *_: object) -> None:
        self.times.append([time.monotonic(), time.process_time()])

    def on_epoch_end(self, *_: object) -> None:
        began, cpu_began = self.times[-1]
        self.times[-1] = [time.monotonic() - began, time.process_time() - cpu_began]


class Judge(keras.callbacks.Callback):
    """Notes the accuracy on the test pictures after each epoch: [moment, accuracy].

    A moment is of the monotonic clock, as if no judging before it had taken any time. On Linux all
    processes share that clock.
    """

    def __init__(self, test: tf.data.Dataset) -> None:
        super().__init__()
        self.moments: list[list[float]] = []
        self._test = test
        self._seconds = 0.0

    def on_epoch_end(self, *_: object) -> None:
        ended = time.monotonic()
        accuracy = self.model.evaluate(self._test, verbose=0, return_dict=True)["accuracy"]
        self.moments.append([ended - self._seconds, accuracy])
        self._seconds += time.monotonic() - ended


def main() -> None:
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("side", type=int)
    parser.add_argument("head_epochs", type=int, nargs="?", default=2)
    parser.add_argument("tuning_epochs", type=int, nargs="?", default=1)
    parser.add_argument("--judge", action="store_true", help="after each epoch")
    options = parser.parse_args()
    size = options.side
    parts = {part: _load_part(options.pictures / part, size) for part in ("train", "val", "test")}
    classes = len(parts["train"].class_names)
    flip, turn = keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)
    train = parts["train"].map(lambda x, y: (turn(flip(x)), y))
    train, val, test = (part.prefetch(2).cache() for part in (train, parts["val"], parts["test"]))

    backbone = _build_backbone(size, classes)
    backbone.trainable = False
    inputs = keras.Input((size, size, 3))
    x = backbone(inputs, training=False)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))

    judge = Judge(test)

    def fit(rate: float, epochs: int) -> list[list[float]]:
        watch = EpochTimes()
        optimizer = keras.optimizers.Adam(rate)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        callbacks = [watch, judge] if options.judge else [watch]
        model.fit(train, epochs=epochs, validation_data=val, callbacks=callbacks, verbose=0)
        return watch.times

    head = fit(1e-3, options.head_epochs)
    backbone.trainable = True
    tuning = fit(1e-5, options.tuning_epochs)
    accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    model.save(options.folder / "model.keras")
    found = {"accuracy": accuracy, "head": head, "tuning": tuning, "moments": judge.moments}
    (options.folder / "guide.json").write_text(json.dumps(found))


def _load_part(folder: Path, side: int) -> tf.data.Dataset:
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=BATCH, seed=0, verbose=False
    )


def _build_backbone(side: int, classes: int) -> keras.Model:
    """EfficientNet-Lite0 with ImageNet weights, its preprocessing included."""
    from job import model, weights
    from job.catalogue import BACKBONES
    from job.settings import BackboneSettings, HeadSettings

    settings = BackboneSettings(name="EfficientNetLite0", image_size=side)
    home = Path(os.environ["KERAS_HOME"])
    found = weights.locate(settings, BACKBONES[settings.name], home, home)
    names = tuple(str(number) for number in range(classes))
    spec = model.ClassifierSpec(backbone=settings, head=HeadSettings(), classes=names, seed=0)
    return model.build(spec, found).backbone


if __name__ == "__main__":
    main()
