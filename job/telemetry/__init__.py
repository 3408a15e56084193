"""The only speaker to Prometheus: phases, JSON logs, the live page.

with serve(settings.telemetry, settings.name, phases) as telemetry:
    with telemetry.phase("dataset"):
        telemetry.progress(done, total, "images")
    telemetry.outcome(result.as_dict())
"""

from job.telemetry.logs import configure_logs, recorded
from job.telemetry.telemetry import Telemetry, serve, silent

__all__ = ["Telemetry", "configure_logs", "recorded", "serve", "silent"]
