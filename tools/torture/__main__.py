"""`python -m tools.torture`: let worlds happen, and print those in which something did not hold."""

import argparse
import json
import logging
import sys
import time
from collections import Counter

from tools.torture import stand_ins


def main() -> int:
    """Run worlds by their seeds. The exit code is 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture", description=__doc__)
    parser.add_argument("--worlds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one world alone")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--stop", action="store_true", help="stop after the first violation")
    parser.add_argument("--log", action="store_true", help="print the events")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    stand_ins.install()
    from tools.torture.world import Plan, digest_events, live

    seeds = range(options.first, options.first + options.worlds)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    began, cpu = time.perf_counter(), time.process_time()
    points: Counter[str] = Counter()
    failed, digests = {}, {}
    for seed in seeds:
        finding = live(Plan.draw(seed))
        points.update(finding.points)
        digests[seed] = digest_events(finding)
        if options.log:
            print("\n".join(finding.events))
        if finding.violations:
            failed[seed] = finding.violations
            if not options.json:
                print(f"seed {seed}: replay with python -m tools.torture --seed {seed} --log")
                print("\n".join(f"  {violation}" for violation in finding.violations))
        if options.stop and failed:
            break
        if options.seconds and time.perf_counter() - began > options.seconds:
            break
    cpu = time.process_time() - cpu
    figures = {
        "worlds": len(digests),
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


if __name__ == "__main__":
    sys.exit(main())
