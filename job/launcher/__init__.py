"""Start, watch, read and list runs through the Kubernetes API; the only speaker to it.

    cluster = connect(namespace=None, kubeconfig=os.environ.get("KUBECONFIG"))
    run = submit(cluster, "flowers", {"GRAFT_TRAINING_EPOCHS": "5"}, key="workflow-uid")
    outcome = watch(cluster, run.name, tell=print)

Objects of Kubernetes stay what they are on the wire, plain JSON: a field that this client has never
heard of is copied with the rest. A watch only wakes us: what is true is read anew each time, so one
that expires or drops loses nothing.
"""

from job.launcher.cluster import Cluster, connect
from job.launcher.listing import Run, runs, table
from job.launcher.reading import logs
from job.launcher.submission import Submitted, submit
from job.launcher.watching import watch

__all__ = ["Cluster", "Run", "Submitted", "connect", "logs", "runs", "submit", "table", "watch"]
