"""The verbs of `graft`, each with what it reads of the process: environment, terminal, signals.

The process that only watches keeps in memory what is imported here. So other rooms are imported in
the functions that use them.
"""
