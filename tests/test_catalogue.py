"""The catalogue is complete and quick to read; `generate_catalogue.py --check` asks Keras."""

import re
import subprocess
import sys

from job.catalogue import BACKBONES


def test_every_row_is_whole() -> None:
    assert len(BACKBONES) >= 41
    for name, backbone in BACKBONES.items():
        assert name == backbone.name
        assert 16 <= backbone.least_size <= backbone.default_size
        assert re.fullmatch(r"[\w.-]+\.(h5|pth)", backbone.file)
        assert backbone.origin is None or backbone.origin.startswith("https://")
        assert backbone.file_hash is None or len(backbone.file_hash) in (32, 64)
        assert backbone.licence
        assert backbone.parameters > backbone.tensors > 0


def test_every_weights_file_has_a_name_of_its_own() -> None:
    assert len({backbone.file for backbone in BACKBONES.values()}) == len(BACKBONES)


def test_only_the_mobile_nets_lack_a_published_hash() -> None:
    assert [name for name, backbone in BACKBONES.items() if backbone.file_hash is None] == [
        "MobileNet",
        "MobileNetV2",
    ]


def test_the_catalogue_is_read_without_tensorflow() -> None:
    code = (
        "import sys, job.catalogue, job.weights; "
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
