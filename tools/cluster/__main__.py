"""`python3 -m tools.cluster up | down | load ARCHIVE…`: one Kubernetes node and an S3 server."""

import sys
from pathlib import Path

from tools.cluster import layout, node, target

USAGE = "python3 -m tools.cluster up | down | load ARCHIVE…"


def main() -> None:
    """Do what the command line asks for."""
    match sys.argv[1:]:
        case ["up"] if target.FOREIGN:
            print(
                f"The tests take the current context of {target.FOREIGN}: nothing is started here."
            )
        case ["up"]:
            node.up()
            print(f"export KUBECONFIG={layout.KUBECONFIG}")
            print(f"export AWS_ENDPOINT_URL={layout.S3} AWS_REGION={layout.S3_REGION}")
            print(f"export AWS_ACCESS_KEY_ID={layout.S3_ACCESS_KEY}")
            print(f"export AWS_SECRET_ACCESS_KEY={layout.S3_SECRET_KEY}")
        case ["down"]:
            node.down()
        case ["load", *archives] if archives:
            for archive in archives:
                node.load(Path(archive))
        case _:
            raise SystemExit(USAGE)


if __name__ == "__main__":
    main()
