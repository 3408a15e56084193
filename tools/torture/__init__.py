"""Deterministic simulation: all of Graft but TensorFlow is real, and one seed is one world.

    python -m tools.torture --worlds 200            # seeds 0 to 199
    python -m tools.torture --seed 17 --log         # one world again, with its events
    python -m tools.torture --scene crowd           # worlds of one kind alone

A world holds pods that run, promote, verify and read one model over one store and perhaps one
cache. They take turns at every operation of the store or the file system, in an order that the seed
decides. Faults are injected at such operations. An auditor checks the invariants after each of
them. `docs/reference/durability.md` says what is promised and how it is shown.

- `scheduler` lets one process of the world go on at a time, and kills it
- `bucket` is an S3 server in memory, behind the real `S3Store`
- `disk` stands between the processes and the operating system
- `clock` replaces time and chance
- `stand_ins` replaces the rooms that need TensorFlow
- `plan` is what a seed decides, and `scenes` draw it
- `pods` are what happens in a world, `auditor` is what must hold in it
- `mutants` plants faults in a copy of `job/` and counts which are caught
- `stores` asks a real store for what Graft needs of it
- `hostile` makes hostile inputs, of which `honest` makes the originals
- `keep_version` keeps what this version writes, for the tests of later ones
"""
