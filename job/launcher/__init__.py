"""Start, watch, read and list runs through the Kubernetes API, of which this is the only client.

    cluster = connect(namespace=None, kubeconfig=os.environ.get("KUBECONFIG"))
    run = submit(cluster, "flowers", {"GRAFT_TRAINING_EPOCHS": "5"}, key="workflow-uid")
    outcome = watch(cluster, run.name, print)

What is read is parsed once (`objects`) and held in snapshots of a run (`snapshot`). What is copied
stays plain JSON, so that fields are kept which this client does not know.
"""

from job.launcher.cluster import Cluster
from job.launcher.connecting import connect
from job.launcher.listing import Run, format_table, list_runs
from job.launcher.reading import follow_logs
from job.launcher.submission import Submitted, submit
from job.launcher.watching import abandon, watch

__all__ = [
    "Cluster",
    "Run",
    "Submitted",
    "abandon",
    "connect",
    "follow_logs",
    "format_table",
    "list_runs",
    "submit",
    "watch",
]
