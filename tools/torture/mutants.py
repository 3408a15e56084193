"""Faults planted in a copy of `job/`, one at a time: does a simulated world notice?

python -m tools.torture.mutants [NAME …]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A mutant counts as missed after so many worlds, or so many seconds of CPU. Most take less than 10.
WORLDS = 1000
SECONDS = 150


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault that somebody could make.

    Attributes:
        name: what it does wrong.
        module: path below `job/`.
        old: text that occurs there exactly once.
        new: text in its place.
        scene: the kind of world that can show it. Empty for all kinds.
    """

    name: str
    module: str
    old: str
    new: str
    scene: str = ""


RELEASING, CLAIM = "publish/releasing.py", "publish/claim.py"
PROMOTION, CHAMPION = "publish/promotion.py", "publish/champion.py"
CHECKPOINT, FILES, ATOMIC = "checkpoint.py", "files.py", "storage/atomic.py"
VERSIONS, STAGING = "publish/versions.py", "storage/staging.py"
S3, PIPELINE, RELEASED = "storage/s3.py", "pipeline/__init__.py", "pipeline/released.py"
RETENTION, HISTORY = "publish/retention.py", "publish/history.py"
TRAIN = "        trained = train(inputs, context, history, exporter)\n"
FINISH = "        in_parallel(lambda name: store.upload(name, paths[name]), paths)\n"
STAGE = "        in_parallel(lambda name: staging.upload(name, paths[name]), described)\n"

MUTANTS = (
    Mutant(
        "claim without a condition",
        RELEASING,
        "store.write_if(CLAIM, ours.raw, etag)",
        "store.write(CLAIM, ours.raw)",
    ),
    Mutant(
        "manifest before the files",
        RELEASING,
        FINISH + "        finish_claim(registry, ours)\n",
        "        finish_claim(registry, ours)\n" + FINISH,
    ),
    Mutant("files before the claim", RELEASING, STAGE, STAGE + FINISH),
    Mutant("nothing is staged", RELEASING, STAGE, ""),
    Mutant(
        "lost claim is taken for won",
        RELEASING,
        'first: %s", store.uri)\n            continue\n',
        'first: %s", store.uri)\n',
    ),
    Mutant(
        "claims of others are replaced",
        RELEASING,
        "if claim and copy_staged(registry, claim):",
        "if False and claim and copy_staged(registry, claim):",
    ),
    Mutant(
        "manifest is not looked for again",
        RELEASING,
        "    return find(registry, run_id), etag\n",
        "    return None, etag\n",
    ),
    Mutant("one name for all attempts", CLAIM, "uuid4().hex, manifest", '"0" * 32, manifest'),
    Mutant("staged files are not copied", CLAIM, "            release.upload(name, path)\n", ""),
    Mutant(
        "staged files are swept too early",
        CLAIM,
        "    if finished is None:\n",
        "    registry.delete(attempts_of(claim.manifest.run_id))\n    if finished is None:\n",
    ),
    Mutant(
        "promote without the ETag",
        CHAMPION,
        "registry.write_if(POINTER, _format_pointer(pointer), champion.etag if champion else None)",
        "registry.write(POINTER, _format_pointer(pointer))",
        scene="crowd",
    ),
    Mutant(
        "ETag is read after the content",
        CHAMPION,
        "        etag=etag,\n",
        '        etag=getattr(registry.head(POINTER), "etag", etag),\n',
        scene="crowd",
    ),
    Mutant(
        "predecessor is not recorded",
        CHAMPION,
        '        previous = {name: champion.pointer[name] for name in ("run_id", '
        '"manifest_sha256")}',
        "        previous = None",
    ),
    Mutant(
        "lost promotion is reported as won",
        PROMOTION,
        "            decision = decide_again(champion)\n",
        "            return decision\n",
    ),
    Mutant(
        "losers are promoted",
        PROMOTION,
        "if not decision.promote or is_champion",
        "if is_champion",
    ),
    Mutant(
        "cut promotion is finished over anything",
        PROMOTION,
        'return bool(promotion["against"] == champion.pointer_sha256)',
        "return True",
    ),
    Mutant(
        "cut promotion is finished by the manifest alone",
        PROMOTION,
        'return bool(promotion["against"] == champion.pointer_sha256)',
        "return champion.sha256 == manifest.previous",
    ),
    Mutant(
        "cut promotion is never finished",
        PROMOTION,
        "    if not manifest.won:\n        return False\n",
        "    return False\n",
    ),
    Mutant(
        "losers are promoted by the next night",
        PROMOTION,
        "    if not manifest.won:\n        return False\n",
        "",
    ),
    Mutant(
        "conflict by hand is taken for done",
        PROMOTION,
        '            logger.info("The champion changed in the meantime: trying again.")\n',
        "            return verified.store.uri\n",
        scene="crowd",
    ),
    Mutant(
        "late run undoes what replaced its release",
        PROMOTION,
        "            if is_replaced(manifest, champion):\n",
        "            if False:\n",
        scene="rivals",
    ),
    Mutant(
        "choice by hand is not unique",
        PROMOTION,
        '        "choice": uuid4().hex,\n',
        '        "choice": "by hand",\n',
        scene="crowd",
    ),
    Mutant(
        "old states are removed before the new one is there",
        CHECKPOINT,
        "        with write_whole(path) as file:\n",
        '        self.store.delete("")\n        with write_whole(path) as file:\n',
        scene="relay",
    ),
    Mutant("no state is kept", CHECKPOINT, "KEPT = 2", "KEPT = 0", scene="relay"),
    Mutant("oldest state is taken", CHECKPOINT, "reverse=True", "reverse=False", scene="relay"),
    Mutant(
        "states are numbered from 1 again",
        CHECKPOINT,
        'self._number = int(newest.partition("-")[0])',
        "pass",
        scene="relay",
    ),
    Mutant(
        "checkpoint is uploaded under the shared name",
        CHECKPOINT,
        "            file.flush()\n            # Under its temporary name: another run of this id "
        "may share the folder and clear it.\n            self.store.upload(name, "
        "Path(file.name))\n",
        "            pass\n        self.store.upload(name, path)\n",
        scene="twins",
    ),
    Mutant(
        "state that is gone is an error",
        CHECKPOINT,
        "        except StoreNotFound:\n",
        "        except ZeroDivisionError:\n",
        scene="twins",
    ),
    Mutant(
        "digest of a state is ignored",
        CHECKPOINT,
        "            return None\n        if hashlib.sha256(data).hexdigest() == digest:\n",
        "            return None\n        if data:\n",
        scene="relay",
    ),
    Mutant(
        "file gets its name without a lock",
        FILES,
        "            partial.replace(path)\n    finally:\n",
        "        partial.replace(path)\n    finally:\n",
    ),
    Mutant(
        "file gets its name before it is synced",
        FILES,
        "            flush_to_disk(file)\n            # While",
        "            file.flush()\n            # While",
    ),
    Mutant(
        "names of files are not synced",
        FILES,
        "    sync_folder(path.parent)\n\n\n@contextmanager\ndef write_named",
        "\n\n@contextmanager\ndef write_named",
    ),
    Mutant(
        "partial files are swept without a lock",
        FILES,
        "            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n            path.unlink()",
        "            path.unlink()",
    ),
    Mutant(
        "lock on a file that is gone counts",
        FILES,
        "        if is_still_at(file, path):\n            return file\n",
        "        return file\n",
    ),
    Mutant(
        "scratch folder stays",
        FILES,
        "        shutil.rmtree(folder, ignore_errors=True)\n",
        "        pass\n",
    ),
    Mutant(
        "partial files are never swept",
        PIPELINE,
        "        files.sweep_partials(settings.cache.dir / name)\n",
        "        pass\n",
    ),
    Mutant("store is never swept", PIPELINE, "    registry.sweep()\n", ""),
    Mutant(
        "object of a folder is not synced",
        ATOMIC,
        "            files.flush_to_disk(file)\n",
        "            file.flush()\n",
    ),
    Mutant(
        "name in a folder is not synced",
        ATOMIC,
        "    files.sync_folder(target.parent)\n    return True\n\n\ndef _rename",
        "    return True\n\n\ndef _rename",
    ),
    Mutant(
        "condition of a folder is not compared",
        ATOMIC,
        '            if etag is not None and compute_checksum(file, "md5") != etag:\n'
        "                return False\n",
        "",
    ),
    Mutant(
        "object of a folder is created over another",
        ATOMIC,
        "        os.link(partial, target)\n",
        "        os.replace(partial, target)\n",
    ),
    Mutant(
        "folder is changed without a lock",
        ATOMIC,
        "            fcntl.flock(file, fcntl.LOCK_EX)\n",
        "",
    ),
    Mutant(
        "S3 is asked without a condition",
        S3,
        "Metadata={WRITER: writer}, **condition",
        "Metadata={WRITER: writer}",
    ),
    Mutant(
        "broken answer goes on from its beginning",
        S3,
        "position, breaks = position + len(piece), 0",
        "breaks = 0",
        scene="relay",
    ),
    Mutant(
        "listing ends after its first page",
        S3,
        '            yield from page.get("Contents", ())\n',
        '            yield from page.get("Contents", ())\n            return\n',
    ),
    Mutant(
        "expired token is a wrong setting",
        "storage/s3_session.py",
        "if self._have_worked() and",
        "if False and",
    ),
    Mutant(
        "busy server is a wrong setting",
        "storage/s3_errors.py",
        "status in (408, 409, 429) or status >= 500",
        "status in (408, 409)",
    ),
    Mutant(
        "download is not verified",
        "storage/downloading.py",
        "return was_verified or _matches_store(store, key, expected, file)",
        "return True",
        scene="fetch",
    ),
    Mutant(
        "probe stays",
        "storage/store.py",
        "        finally:\n            self.delete(key)\n",
        "        finally:\n            pass\n",
    ),
    Mutant(
        "checkpoints go before the release",
        PIPELINE,
        TRAIN,
        TRAIN + "        inputs.checkpoints.clear()\n",
    ),
    Mutant(
        "seed is forgotten in the run id",
        PIPELINE,
        "make_run_id(settings.shaping_values(), data.digest)",
        "make_run_id({}, data.digest)",
    ),
    Mutant(
        "settings are forgotten in the history",
        HISTORY,
        '== listing\n                and manifest.fields["settings"] == settings\n',
        "== listing\n",
    ),
    Mutant(
        "states of other runs are removed",
        RELEASED,
        'registry.delete(f"runs/{manifest.run_id}")',
        'registry.delete("runs")',
    ),
    Mutant(
        "staged files of a killed run stay",
        RELEASED,
        '    registry.delete(f"runs/{manifest.run_id}")\n',
        "",
    ),
    Mutant(
        "incoming files have no owner",
        "dataset/cache.py",
        "                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "                pass\n",
    ),
    Mutant(
        "rows of activations are mixed up",
        "kept_rows.py",
        "index.setdefault(image, (shard, row))",
        "index.setdefault(image, (shard, 0))",
    ),
    Mutant(
        "graph is copied first",
        VERSIONS,
        "(name == GRAPH, -sizes[name], name)",
        "(name != GRAPH, -sizes[name], name)",
    ),
    Mutant(
        "version is filled under its own name",
        STAGING,
        "    staged = target.with_name(lock.stem)\n",
        "    staged = target\n",
    ),
    Mutant(
        "version is numbered without a condition",
        VERSIONS,
        "    registry.write_if(VERSIONS, raw, versions.etag)\n",
        "    registry.write(VERSIONS, raw)\n",
    ),
    Mutant(
        "cut version is never completed",
        VERSIONS,
        "        if not versions.is_newest(manifest):\n",
        "        if versions.is_newest(manifest):\n            return number\n        if True:\n",
    ),
    Mutant(
        "choice by hand is not followed",
        PROMOTION,
        "    follow_champion(registry)\n",
        "",
        "crowd",
    ),
    Mutant(
        "servers keep a version that was rolled back meanwhile",
        "publish/versions.py",
        "not is_champion(manifest, read_champion(registry))",
        "False",
        "crowd",
    ),
    Mutant(
        "release is found by its folder alone",
        "release/opening.py",
        'if manifest.sha256 != pointer["manifest_sha256"]:',
        "if False:",
        scene="crowd",
    ),
    Mutant(
        "refusal of S3 is swallowed",
        S3,
        '.get("RetryAttempts", 0):\n                raise\n',
        '.get("RetryAttempts", 0):\n                return ""\n',
    ),
    Mutant(
        "refusal of a folder is swallowed",
        "storage/folder.py",
        "        if not was_written:\n            raise self._conflict_at(key)\n",
        "",
    ),
    Mutant(
        "data are forgotten in the run id",
        PIPELINE,
        "make_run_id(settings.shaping_values(), data.digest)",
        'make_run_id(settings.shaping_values(), "")',
        scene="nights",
    ),
    Mutant(
        "data are forgotten in the history",
        HISTORY,
        'manifest.fields["data"].get("listing") == listing\n                and ',
        "",
        scene="nights",
    ),
    Mutant(
        "cache knows an object by its name alone",
        "dataset/cache.py",
        "json.dumps(version).encode()",
        "json.dumps(version[:1]).encode()",
        scene="nights",
    ),
    Mutant(
        "training goes on a step late",
        CHECKPOINT,
        '            return cls(arrays, text["facts"])\n',
        '            facts = {**text["facts"], "step": text["facts"]["step"] + 1}\n'
        "            return cls(arrays, facts)\n",
        scene="relay",
    ),
    Mutant(
        "training goes on a step early",
        CHECKPOINT,
        '            return cls(arrays, text["facts"])\n',
        '            facts = {**text["facts"], "step": max(0, text["facts"]["step"] - 1)}\n'
        "            return cls(arrays, facts)\n",
        scene="relay",
    ),
    Mutant(
        "seed is forgotten in the batches",
        "pipeline/phases.py",
        "settings.training, settings.seed)",
        "settings.training, 0)",
    ),
    Mutant(
        "state on this disk is trusted",
        CHECKPOINT,
        "            data = (self.folder / name).read_bytes()\n",
        "            return (self.folder / name).read_bytes()\n",
        scene="relay",
    ),
    Mutant(
        "deleted release is promoted",
        CHAMPION,
        "    if store.head(MANIFEST) is None:\n",
        "    if False:\n",
        scene="crowd",
    ),
    Mutant(
        "pointer stays at a deleted release",
        CHAMPION,
        "        _restore_pointer(registry, champion, etag)\n",
        "",
        scene="crowd",
    ),
    Mutant(
        "promoted release is deleted",
        RETENTION,
        "    if manifest.run_id in _read_pointed_at(registry):\n",
        "    if False:\n",
        scene="prunes",
    ),
    Mutant(
        "files are deleted before the manifest",
        RETENTION,
        "    store.delete(MANIFEST)\n",
        '    store.delete("saved_model")\n    store.delete(MANIFEST)\n',
        scene="crowd",
    ),
    Mutant(
        "choice by hand is not recorded as one",
        PROMOTION,
        '        "by": MANUAL,\n',
        '        "by": "score",\n',
        scene="crowd",
    ),
    Mutant(
        "probes of others are swept",
        "storage/store.py",
        "PROBE_SECONDS = 24 * 3600\n",
        "PROBE_SECONDS = 1800\n",
        scene="starts",
    ),
    Mutant(
        "secret is written into the manifest",
        "pipeline/records.py",
        '        "name": inputs.settings.name,\n        "run_id": inputs.run_id,\n',
        '        "name": inputs.settings.name,\n        "run_id": inputs.run_id,\n'
        '        "environment": dict(__import__("os").environ),\n',
    ),
    Mutant(
        "secret is written into the log",
        PIPELINE,
        "    registry.sweep()\n",
        '    registry.sweep()\n    logger.info("%s", dict(__import__("os").environ))\n',
    ),
    Mutant(
        "worker tells of the promotion by the manifest alone",
        PIPELINE,
        '"released", standing.promoted',
        '"released", manifest.won',
        scene="rivals",
    ),
    Mutant(
        "file is written elsewhere",
        PIPELINE,
        "    registry.sweep()\n",
        '    registry.sweep()\n    open("/dev/full", "a").close()\n',
    ),
)


def find_catch(mutant: Mutant) -> tuple[int, str] | None:
    """The first seed in which something did not hold, and what. None if all worlds were fine.

    Raises:
        ValueError: the text to replace does not occur exactly once.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        shutil.copytree(ROOT / "job", copy / "job", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "tools").symlink_to(ROOT / "tools")
        path = copy / "job" / mutant.module
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.name}: occurs {text.count(mutant.old)} times")
        path.write_text(text.replace(mutant.old, mutant.new))
        options = ["--worlds", str(WORLDS), "--cpu-seconds", str(SECONDS), "--stop", "--json"]
        if mutant.scene:
            options += ["--scene", mutant.scene]
        done = subprocess.run(
            [sys.executable, "-m", "tools.torture", *options],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.stdout:
        # Not even a world was possible.
        return 0, f"crashed: {done.stderr.strip().splitlines()[-1]}"
    failed = json.loads(done.stdout)["failed"]
    for seed, violations in failed.items():
        return int(seed), violations[0]
    return None


def main() -> int:
    """Try the mutants whose names are given, or all. The exit code is 1 if one is missed."""
    chosen = [mutant for mutant in MUTANTS if not sys.argv[1:] or mutant.name in sys.argv[1:]]
    caught = 0
    for mutant in chosen:
        catch = find_catch(mutant)
        caught += catch is not None
        seed, violation = catch or ("-", "MISSED")
        print(
            f"{mutant.name} | {mutant.module} | {seed} | {violation.splitlines()[0][:140]}",
            flush=True,
        )
    print(f"{caught} of {len(chosen)} caught")
    return int(caught < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
