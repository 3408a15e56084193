"""The folders of this checkout that tools and tests read and write."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "helm"
MANIFESTS = ROOT / "manifests"
# One folder with go.mod and go.sum for each program that is built from source.
PROGRAMS = ROOT / "tools" / "programs"
