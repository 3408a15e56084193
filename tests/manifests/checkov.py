"""What checkov reports on a folder of objects: (check, object, what it asks for), sorted."""

import json
import os
import subprocess
from pathlib import Path

from tools.environments import python

FRAMEWORKS = ("kubernetes", "argo_workflows", "secrets")
# It neither asks for a newer version of itself nor fetches rules from its makers.
QUIET = {"CKV_SKIP_PACKAGE_UPDATE_CHECK": "true"}


def findings(folder: Path) -> list[tuple[str, str, str]]:
    """Every failed check."""
    command = [
        str(python("checkov")),
        "-m",
        "checkov.main",
        "--directory",
        str(folder),
        "--framework",
        *FRAMEWORKS,
    ]
    done = subprocess.run(
        [*command, "--skip-download", "--quiet", "--compact", "--soft-fail", "--output", "json"],
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    report = json.loads(done.stdout)
    parts = report if isinstance(report, list) else [report]
    assert sum(part["summary"]["resource_count"] for part in parts), (
        f"checkov has looked at nothing: {done.stdout}"
    )
    assert not any(part["summary"]["parsing_errors"] for part in parts), done.stdout
    failed = [check for part in parts for check in part["results"]["failed_checks"]]
    return sorted((check["check_id"], check["resource"], check["check_name"]) for check in failed)
