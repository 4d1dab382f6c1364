"""Mistakes in the formulas of ``vaekit.system.machine_load``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.system import machine_load

TABLE = Table(
    machine_load,
    tests=["system/test_machine_load.py"],
    mutants=[
        Mutant("sum(shares) - own", "sum(shares) + own", "a load that counts this process twice"),
        Mutant("self.cores - self.taken_cores", "self.cores + self.taken_cores", "a training that takes the cores of others"),
    ],
)
