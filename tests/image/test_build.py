"""The tools around the build, without building: what they find, carry and refuse."""

from pathlib import Path

import pytest

from tools.image import build, registry
from tools.image.engine import found
from tools.paths import ROOT


def test_without_an_engine_the_message_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"docker, podman, buildah .* apt-get install .* buildah"):
        found()


def test_docker_goes_before_podman_and_podman_before_buildah(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = []
    for program in ("buildah", "podman", "docker"):
        (tmp_path / program).touch(mode=0o755)
        seen.append(found().program)
    assert seen == ["buildah", "podman", "docker"]


@pytest.mark.parametrize("weights", ["no-such-folder", "/etc", "README.md"])
def test_weights_that_are_no_folder_of_the_checkout_are_refused(weights: str) -> None:
    with pytest.raises(SystemExit, match=rf"WEIGHTS={weights}: expected a folder in the checkout"):
        build.build(found(), build.ImageOptions("graft:test", "cpu", weights=weights))


def test_pips_configuration_enters_as_a_secret_for_the_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@registry.invalid/simple")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca.pem"))
    with registry.secrets() as options:
        assert f"--secret=id=ca.pem,src={tmp_path}/ca.pem" in options
        (configuration,) = (
            Path(option.partition("src=")[2]) for option in options if "id=pip.conf" in option
        )
        assert (
            "index-url = https://user:secret@registry.invalid/simple" in configuration.read_text()
        )
        assert f"cert = {registry.AUTHORITY}" in configuration.read_text()
        assert configuration.parent.stat().st_mode & 0o077 == 0
    assert not configuration.exists()


def test_the_archive_is_made_again_when_the_job_changes_and_not_otherwise(
    monkeypatch: pytest.MonkeyPatch, context: Path
) -> None:
    monkeypatch.setattr(build, "ROOT", context)
    before = build._hash_inputs()
    (context / "README.md").write_text("another page")
    (context / "job" / "__pycache__").mkdir()
    (context / "job" / "__pycache__" / "x.pyc").touch()
    assert build._hash_inputs() == before
    (context / "job" / "errors.py").write_text("")
    assert build._hash_inputs() != before


def test_the_lock_of_the_inventory_tool_names_no_registry() -> None:
    lock = (ROOT / "tools/image/cyclonedx.txt").read_text()
    assert "cyclonedx-bom==" in lock
    assert "://" not in lock
