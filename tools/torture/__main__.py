"""`python -m tools.torture`: let worlds happen, and print those in which something did not hold."""

import argparse
import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tools.torture import stand_ins

stand_ins.install()

from tools.torture.plan import KINDS_OF_FAULT, Plan  # noqa: E402
from tools.torture.scenes import SCENES, draw_plan  # noqa: E402
from tools.torture.world import Finding, digest_events, live  # noqa: E402

# A process that was killed, or whose reply was lost, where it publishes, promotes or reads.
DISTURBED = re.compile(r" \S*out/pets/(?!\S*/checkpoints/)\S* (kill|lost|repeated)$", re.MULTILINE)


def read_options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture", description=__doc__)
    parser.add_argument("--worlds", type=int, default=100, help="at most so many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one world alone")
    parser.add_argument(
        "--sweep", choices=sorted({*KINDS_OF_FAULT}), help="one fault at each operation"
    )
    parser.add_argument("--store", choices=("bucket", "folder"), default="bucket", help="for it")
    parser.add_argument("--scene", choices=[*SCENES], default="", help="worlds of one kind alone")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--cpu-seconds", type=float, help="stop after so many seconds of CPU")
    parser.add_argument("--stop", action="store_true", help="stop after the first violation")
    parser.add_argument("--log", action="store_true", help="print the events")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def live_worlds(options: argparse.Namespace) -> Iterator[tuple[int, Finding]]:
    """Each world that the options ask for, by its seed, as long as there is time."""
    began, cpu = time.perf_counter(), time.process_time()
    for seed in range(options.first, options.first + options.worlds):
        plan = draw_plan(seed, options.scene)
        if options.sweep:
            plan = Plan.sweep(options.store, seed, options.sweep)
        finding = live(plan)
        if options.sweep and not finding.faults:
            # The run was over before its turn came: all of its operations have been swept.
            return
        yield seed, finding
        is_late = options.seconds and time.perf_counter() - began > options.seconds
        is_spent = options.cpu_seconds and time.process_time() - cpu > options.cpu_seconds
        if is_late or is_spent or (options.stop and finding.violations):
            return


def main() -> int:
    """Let worlds happen. The exit code is 1 if anything did not hold."""
    options = read_options()
    if options.seed is not None:
        options.first, options.worlds = options.seed, 1
    logging.disable(logging.CRITICAL)
    cpu = time.process_time()
    points: Counter[str] = Counter()
    failed, digests, histories = {}, {}, 0
    for seed, finding in live_worlds(options):
        points.update(finding.points)
        digests[seed] = digest_events(finding)
        histories += DISTURBED.search("\n".join(finding.events)) is not None
        if options.log:
            print("\n".join(finding.events))
        if finding.violations:
            failed[seed] = finding.violations
            if not options.json:
                _print_violations(seed, options, finding.violations)
    cpu = time.process_time() - cpu
    figures = {
        "worlds": len(digests),
        "of them with a lost reply or a killed process where it publishes": histories,
        "violations": sum(map(len, failed.values())),
        "failed": failed,
        "worlds_per_cpu_hour": round(len(digests) / cpu * 3600),
        "fault_points": len([point for point in points if " " in point]),
        "points": len(points),
    }
    if options.json:
        print(json.dumps({**figures, "digests": digests}))
    else:
        print({name: value for name, value in figures.items() if name != "failed"})
    return bool(failed)


def _print_violations(seed: int, options: argparse.Namespace, found: tuple[str, ...]) -> None:
    more = f" --sweep {options.sweep} --store {options.store}" if options.sweep else ""
    if options.scene:
        more += f" --scene {options.scene}"
    print(f"seed {seed}: replay with python -m tools.torture --seed {seed}{more} --log")
    print("\n".join(f"  {violation}" for violation in found))


if __name__ == "__main__":
    sys.exit(main())
