"""Export a small real classifier: in a fresh process, equal to training, equal in every run."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from job.errors import Interrupted, ReleaseError
from job.export import Bundle, Exporter, ExportRequest, preprocess
from job.export.operations import require_known_operations
from job.settings import BackboneSettings, HeadSettings
from tools.paths import ROOT

pytestmark = pytest.mark.exports

CLASSES = ("bird", "cat", "dog", "ölfleck")
SIZE = 32
SERVING = ROOT / "docs" / "guides" / "serving.md"


@dataclass(frozen=True)
class Trained:
    request: ExportRequest
    variables: list[Any]
    probabilities: Any
    model: Any
    pixels: Any
    encoded: list[bytes]

    def pack(
        self, folder: Path, shown: list[tuple[str, int]] | None = None, **changes: Any
    ) -> Bundle:
        """Export, and keep in `shown` what a person is told meanwhile."""
        told = [] if shown is None else shown
        with Exporter(folder) as exporter:
            process = exporter.start(self.request.model_copy(update=changes))
            process.send_variables(self.variables)
            process.send_reference(self.pixels, self.probabilities)
            return exporter.finish(lambda name, place: told.append((name, place)))


def picture(path: Path, generator: np.random.Generator, side: tuple[int, int] = (90, 120)) -> Path:
    """A smooth random picture, so that decoders and resizers have something to agree on."""
    colours = generator.integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(colours).resize(side[::-1], Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    return [
        picture(folder / f"{index}.{'jpg' if index % 2 else 'png'}", generator)
        for index in range(6)
    ]


@pytest.fixture(scope="module")
def trained(images: list[Path]) -> Trained:
    """A classifier whose every tensor matters.

    With BatchNorm statistics as initialised, a lost one would not show.
    """
    from job import model
    from job.export import reference
    from job.images import prepare_few
    from job.weights import NO_WEIGHTS

    backbone = BackboneSettings(name="MobileNet", weights="none", image_size=SIZE)
    spec = model.ClassifierSpec(backbone=backbone, head=HeadSettings(), classes=CLASSES, seed=3)
    classifier = model.build(spec, NO_WEIGHTS)
    encoded = reference.read_padded(images, 8)
    pixels = prepare_few(encoded, SIZE, "letterbox")
    enliven(classifier.model, pixels)
    request = ExportRequest(
        backbone=backbone,
        head=HeadSettings(),
        classes=CLASSES,
        formats=("saved_model", "keras"),
        seed=3,
        threads=2,
        images=tuple(images),
        batch_size=8,
    )
    return Trained(
        request,
        [variable.numpy() for variable in classifier.model.variables],
        reference.classify(classifier.model, pixels)[: len(images)],
        classifier.model,
        pixels,
        encoded,
    )


def enliven(model: Any, pixels: Any) -> None:
    """Set random scales and offsets, and the statistics of these pictures, so classes differ."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.gamma.assign(generator.uniform(0.8, 1.2, layer.gamma.shape))
            layer.beta.assign(generator.normal(0, 0.1, layer.beta.shape))
            layer.momentum = 0.0
    model(pixels, training=True)
    logits = model.get_layer("logits")
    logits.kernel.assign(generator.normal(0, 0.5, logits.kernel.shape))


@pytest.fixture(scope="module")
def everything(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """All four formats, once."""
    formats = ("saved_model", "keras", "onnx", "litert")
    shown: list[tuple[str, int]] = []
    bundle = trained.pack(tmp_path_factory.mktemp("everything"), shown, formats=formats)
    # What a person is told meanwhile.
    assert shown == [("saved_model", 0), ("keras", 1), ("onnx", 2), ("litert", 3)]
    return bundle


@pytest.fixture(autouse=True)
def _unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `everything`, which is made before this, measures the coverage of the export's process.

    It takes half as much time again.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


def digests(bundle: Bundle) -> dict[str, str]:
    return {
        name: hashlib.sha256((bundle.folder / name).read_bytes()).hexdigest()
        for name in bundle.files
    }


def test_every_format_is_there_and_agrees(everything: Bundle, trained: Trained) -> None:
    require_known_operations(everything.folder / "saved_model" / "1")
    assert everything.files == (
        "labels.json",
        "model.keras",
        "model.onnx",
        "model.tflite",
        "preprocess.json",
        "preprocess.py",
        "saved_model/1/saved_model.pb",
        "saved_model/1/variables/variables.data-00000-of-00001",
        "saved_model/1/variables/variables.index",
    )
    parity = {each.format: each for each in everything.parity}
    assert parity["saved_model"].max_difference == 0
    assert parity["keras"].max_difference == 0
    assert parity["onnx"].max_difference < 1e-4
    assert parity["litert"].max_difference < 1e-4
    for name in ("saved_model", "keras", "onnx", "litert"):
        assert parity[name].top1_agreement == 1
    assert parity["onnx"].bytes == (everything.folder / "model.onnx").stat().st_size
    assert set(everything.seconds) == {"saved_model", "keras", "onnx", "litert"}
    # Else agreement would show nothing.
    assert len(np.unique(trained.probabilities.argmax(axis=1))) > 1


def test_the_keras_file_loads_in_plain_keras(
    everything: Bundle, trained: Trained, tmp_path: Path
) -> None:
    np.save(tmp_path / "pixels.npy", trained.pixels)
    script = f"""
import keras, numpy as np, sys
model = keras.models.load_model({str(everything.folder / "model.keras")!r})
np.save("answers.npy", model(np.load("pixels.npy"), training=False))
assert not any(name.split(".")[0] == "job" for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, capture_output=True)
    answers = np.load(tmp_path / "answers.npy")[: len(trained.probabilities)]
    np.testing.assert_allclose(answers, trained.probabilities, atol=1e-6)


def test_the_saved_model_takes_files_and_names_the_best_class(
    everything: Bundle, trained: Trained
) -> None:
    import tensorflow as tf

    signature = tf.saved_model.load(str(everything.folder / "saved_model/1")).signatures[
        "serving_default"
    ]
    answers = signature(images=tf.constant(trained.encoded[:2]))
    assert answers["probabilities"].shape == (2, len(CLASSES))
    best = trained.probabilities[:2].argmax(axis=1)
    assert [name.decode() for name in answers["labels"].numpy()] == [
        CLASSES[index] for index in best
    ]


def test_the_companions_describe_input_and_output(everything: Bundle) -> None:
    assert json.loads((everything.folder / "labels.json").read_text()) == list(CLASSES)
    rules = json.loads((everything.folder / "preprocess.json").read_text())
    assert rules["shape"] == ["batch", SIZE, SIZE, 3]
    assert (rules["size"], rules["fit"], rules["range"]) == (SIZE, "letterbox", [0, 255])
    shipped = (everything.folder / "preprocess.py").read_text()
    assert shipped == Path(preprocess.__file__).read_text()
    assert "job" not in shipped.replace("objects", "")


def test_onnx_and_litert_take_any_batch(everything: Bundle, trained: Trained) -> None:
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    three = trained.pixels[:3]
    session = onnxruntime.InferenceSession(str(everything.folder / "model.onnx"))
    answers = session.run(["probabilities"], {"images": three})[0]
    np.testing.assert_allclose(answers, trained.probabilities[:3], atol=1e-4)

    interpreter = Interpreter(model_path=str(everything.folder / "model.tflite"))
    interpreter.resize_tensor_input(0, three.shape)
    np.testing.assert_allclose(
        interpreter.get_signature_runner()(images=three)["probabilities"],
        trained.probabilities[:3],
        atol=1e-4,
    )


def test_the_serving_examples_name_what_is_written(everything: Bundle) -> None:
    import onnxruntime
    import tensorflow as tf

    signatures = tf.saved_model.load(str(everything.folder / "saved_model/1")).signatures
    assert list(signatures) == ["serving_default"]
    _, inputs = signatures["serving_default"].structured_input_signature
    # A request may leave out the name of an input, but only of a single one.
    assert {name: (spec.dtype.name, spec.shape.rank) for name, spec in inputs.items()} == {
        "images": ("string", 1)
    }
    (answer,) = re.findall(r"```json\n(.*?)```", SERVING.read_text(), re.DOTALL)
    (prediction,) = json.loads(answer)["predictions"]
    assert prediction.keys() == signatures["serving_default"].structured_outputs.keys()

    session = onnxruntime.InferenceSession(str(everything.folder / "model.onnx"))
    (pixels,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.type) == ("images", "tensor(float)")
    triton, _ = re.findall(r"```python\n(.*?)```", SERVING.read_text(), re.DOTALL)
    assert f'InferInput("{pixels.name}", images.shape, "FP32")' in triton
    assert f'as_numpy("{probabilities.name}")' in triton


def test_the_guides_code_for_onnx_runtime_names_the_class(
    everything: Bundle, trained: Trained, images: list[Path], tmp_path: Path
) -> None:
    for name in ("model.onnx", "labels.json", "preprocess.json", "preprocess.py"):
        shutil.copy(everything.folder / name, tmp_path)
    shutil.copy(images[1], tmp_path / "new.jpg")
    _, code = re.findall(r"```python\n(.*?)```", SERVING.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    label, probability = done.stdout.split()
    assert label == CLASSES[trained.probabilities[1].argmax()]
    assert float(probability) == pytest.approx(trained.probabilities[1].max(), abs=0.02)


def test_what_disagrees_with_training_is_not_delivered(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    (folder / "saved_model").mkdir(parents=True)
    (folder / "saved_model" / "kept").write_text("of before")
    other = replace(trained, probabilities=trained.probabilities[:, ::-1])
    with pytest.raises(
        ReleaseError,
        match=r"The saved_model export has a probability .* away from the trained model",
    ):
        other.pack(folder)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["kept"]
    assert list(tmp_path.iterdir()) == [folder]


def test_the_reason_of_a_crash_reaches_the_run(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="ended with exit code 1") as caught:
        trained.pack(tmp_path / "bundle", batch_size=0)
    assert any("greater than or equal to 1" in line for line in caught.value.problems)


# --- interruption -----------------------------------------------------------------------------


def find_exporting(folder: Path) -> list[int]:
    """Processes that export for a bundle in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"job.export" in part for part in arguments) and any(
            part.startswith(str(folder).encode()) for part in arguments
        ):
            found.append(int(process.name))
    return found


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def on_signal() -> Iterator[None]:
    def raise_interrupted(*_: Any) -> None:
        raise Interrupted("SIGTERM was received.")

    before = signal.signal(signal.SIGUSR1, raise_interrupted)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_an_interrupted_run_ends_its_exporting_process(
    trained: Trained, tmp_path: Path, on_signal: None
) -> None:
    def interrupt() -> None:
        wait_until(lambda: find_exporting(tmp_path))
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted):
        trained.pack(tmp_path / "bundle")
    thread.join()
    # At once, unless the signal came while it was being started: then it ends with its stdin.
    wait_until(lambda: not find_exporting(tmp_path))
    assert list((tmp_path / "bundle").iterdir()) == []


def test_a_run_killed_with_9_leaves_no_exporting_process(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(trained.request.model_dump_json())
    script = f"""
from pathlib import Path
import numpy as np
from job import export
folder = Path({str(tmp_path)!r})
request = export.ExportRequest.model_validate_json((folder / "request.json").read_text())
with export.Exporter(folder / "bundle") as exporter:
    exporter.start(request).send_variables([np.zeros(3)])
    exporter.finish()
"""
    run = subprocess.Popen([sys.executable, "-c", script])
    wait_until(lambda: find_exporting(tmp_path))
    run.kill()
    run.wait()
    wait_until(lambda: not find_exporting(tmp_path))


def test_a_process_that_was_started_early_and_in_another_order_of_formats_writes_equal_bytes(
    everything: Bundle, trained: Trained, tmp_path: Path
) -> None:
    formats = ("litert", "onnx", "keras", "saved_model")
    with Exporter(tmp_path / "bundle") as exporter:
        # It starts before anything is known. Another head was expected: this process ends, and one
        # for the right head starts.
        exporter.prepare()
        wait_until(lambda: find_exporting(tmp_path))
        (prepared,) = find_exporting(tmp_path)
        expected = trained.request.model_copy(update={"head": HeadSettings(units=8)})
        first = exporter.start(expected).process
        assert first.pid == prepared
        request = trained.request.model_copy(update={"formats": formats})
        process = exporter.start(request)
        assert first.poll() is not None
        process.send_variables(trained.variables)
        assert exporter.start(request) is process
        # The exports are written by then, and not compared.
        wait_until((process.export_folder.bundle / "preprocess.py").exists, seconds=200)
        assert not (tmp_path / "bundle" / "labels.json").exists()
        process.send_reference(trained.pixels, trained.probabilities)
        bundle = exporter.finish()
    assert find_exporting(tmp_path) == []
    assert digests(bundle) == digests(everything)
    assert bundle.parity == everything.parity


@pytest.mark.parametrize("is_known", [False, True])
def test_a_run_that_ends_before_its_classifier_is_trained_ends_the_exporting_process(
    is_known: bool, trained: Trained, tmp_path: Path
) -> None:
    def run_until_sigterm() -> None:
        with Exporter(tmp_path / "bundle") as exporter:
            exporter.prepare()
            if is_known:
                exporter.start(trained.request)
            wait_until(lambda: find_exporting(tmp_path))
            raise Interrupted("SIGTERM was received.")

    with pytest.raises(Interrupted):
        run_until_sigterm()
    assert find_exporting(tmp_path) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle"]


# --- parts, without a process -----------------------------------------------------------------


def parity_check(bundle: Path) -> Any:
    """For an export in `bundle` of at least 10 bytes."""
    from job.export.parity import ParityCheck

    return ParityCheck(bundle, np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), kernel_bytes=10)


@pytest.mark.parametrize(
    ("received", "accepted"),
    [
        ([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], True),  # the last row is padding
        ([[0.8999, 0.1001], [0.2, 0.8], [0.5, 0.5]], True),
        ([[0.1, 0.9], [0.2, 0.8], [0.5, 0.5]], False),
        ([[np.nan, np.nan], [0.2, 0.8], [0.5, 0.5]], False),
    ],
)
def test_an_export_must_agree_with_the_trained_model(
    tmp_path: Path, received: list[list[float]], accepted: bool
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"0" * 10)
    given = np.array(received, np.float32)
    if accepted:
        assert parity_check(tmp_path).check("onnx", path, given, 1e-3).path == "model.onnx"
        return
    with pytest.raises(ReleaseError, match="The onnx export has a probability"):
        parity_check(tmp_path).check("onnx", path, given, 1e-3)


def test_an_export_smaller_than_its_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"0" * 9)
    check = parity_check(tmp_path)
    with pytest.raises(ReleaseError, match="9 bytes, smaller than its weights of 10 bytes"):
        check.check("litert", path, check.trained, 1e-3)


def test_tensors_of_another_architecture_are_refused(trained: Trained) -> None:
    from job.export.export_input import assign_variables

    with pytest.raises(ReleaseError, match="the tensors that both have are equal in shape"):
        assign_variables(trained.model, trained.variables[:-1])
    with pytest.raises(ReleaseError, match=r"tensor 0 has shape \(7,\), expected"):
        assign_variables(trained.model, [np.zeros(7), *trained.variables[1:]])


def test_a_keras_file_with_a_layer_of_our_own_is_refused(tmp_path: Path) -> None:
    import keras

    from job.export import keras_archive
    from job.export.export_input import ExportInput

    @keras.saving.register_keras_serializable("graft")
    class Ours(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    place = keras.Input((2, 2, 3))
    model = keras.Model(place, Ours()(place))
    with pytest.raises(ReleaseError, match="needs custom objects to load: Ours"):
        keras_archive.write(
            ExportInput(model=model, classes=("a",), size=2, fit="squash"),
            tmp_path / "model.keras",
        )


def test_the_keras_file_carries_no_time_and_no_address(everything: Bundle) -> None:
    with zipfile.ZipFile(everything.folder / "model.keras") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("metadata.json"))["date_saved"] == "1980-01-01@00:00:00"


# --- preprocess.py against the graph ----------------------------------------------------------


def variants(folder: Path) -> dict[str, Path]:
    """One picture in the ways in which files differ."""
    generator = np.random.default_rng(5)
    base = Image.open(picture(folder / "base.png", generator, (61, 97))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = base.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(base.size))
    deep = np.asarray(base.convert("L")).astype(np.uint16) * 257
    saved: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.png": (base, {}),
        "turned.jpg": (base, {"exif": exif, "quality": 95}),
        "grey.png": (base.convert("L"), {}),
        "alpha.png": (alpha, {}),
        "grey_alpha.png": (alpha.convert("LA"), {}),
        "palette.png": (base.convert("P"), {}),
        "palette_alpha.png": (base.quantize(16), {"transparency": bytes(range(0, 256, 16))}),
        "deep.png": (Image.fromarray(deep), {}),
        "picture.bmp": (base, {}),
        "picture.gif": (base.convert("P"), {}),
        "alpha.webp": (alpha, {"lossless": True}),
    }
    for name, (image, options) in saved.items():
        image.save(folder / name, **options)
    return {name: folder / name for name in saved}


@pytest.mark.parametrize("fit", ["letterbox", "crop", "squash"])
def test_preprocess_py_makes_what_the_graph_makes(tmp_path: Path, fit: Any) -> None:
    from job.export import companions
    from job.images import prepare_few

    files = variants(tmp_path)
    (tmp_path / "preprocess.json").write_text(
        json.dumps(companions.describe_preprocessing(40, fit))
    )
    script = tmp_path / "preprocess.py"
    script.write_text(Path(preprocess.__file__).read_text())

    ours = companions.run(script, list(files.values()), len(files))
    graph = prepare_few([path.read_bytes() for path in files.values()], 40, fit)
    assert ours.shape == graph.shape
    assert ours.dtype == np.float32
    differences = {
        name: float(np.abs(a - b).mean()) for name, a, b in zip(files, ours, graph, strict=True)
    }
    # In grey levels: two JPEG decoders round differently.
    assert differences.pop("turned.jpg") < 1.5
    assert max(differences.values()) < 1e-3, differences
