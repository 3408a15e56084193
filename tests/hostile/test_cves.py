"""The known vulnerabilities of Keras in loading: nothing is run, read or written."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from job.errors import WeightsError
from job.model.tensors import read_into
from tools.torture import cves
from tools.torture.honest import make_network

CVES = {
    "CVE-2024-3660",
    "CVE-2025-1550",
    "CVE-2025-8747",
    "CVE-2025-9905",
    "CVE-2025-9906",
    "CVE-2025-12058",
    "CVE-2025-49655",
    "CVE-2026-0897",
    "CVE-2026-1462",
}
MOST_BYTES = 64 << 20

# Only the tests turn variables into arrays in a way that NumPy 2 will no longer take.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_no_known_vulnerability_of_keras_is_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "traps"
    folder.mkdir()
    network = make_network()
    traps = list(cves.make_traps(network, folder))
    assert {trap.name.partition(" ")[0] for trap in traps} == CVES
    monkeypatch.setattr("os.system", lambda _: pytest.fail("a command was run"))
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    for trap in traps:
        path = folder / f"input{trap.suffix}"
        path.write_bytes(trap.content)
        received = make_network()
        tracemalloc.start()
        if "0897" in trap.name:
            with pytest.raises(WeightsError, match=r"larger than|which no variable has"):
                read_into(received, path, "this network")
        else:
            read_into(received, path, "this network")
            for ours, expected in zip(received.weights, network.weights, strict=True):
                np.testing.assert_array_equal(ours.numpy(), expected.numpy())
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES, trap.name
        tracemalloc.stop()
        path.unlink()
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before
