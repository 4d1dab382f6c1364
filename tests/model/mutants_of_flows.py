"""Mistakes in the formulas of ``vaekit.model.flows``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import flows

TABLE = Table(
    flows,
    tests=["model/test_flows.py"],
    mutants=[
        Mutant("% 2 == layer % 2 for", "% 2 == 0 for", "halves that do not alternate: some numbers are never moved"),
        Mutant("if layer % 2 == 0 else torch.arange(features).flip(0)", "if layer >= 0 else torch.arange(features).flip(0)", "orders that do not turn around"),
        Mutant("*_, weight, bias = step", "weight, bias, *_ = step", "a flow that does not begin as the identity"),
        Mutant("self.meta(stays).inv", "self.meta(stays)", "what is undone is done again"),
    ],
)
