"""The training loop, single steps, budgets and plans."""
