"""Mistakes in the formulas of ``vaekit.evaluation.anomaly``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.evaluation import anomaly

TABLE = Table(
    anomaly,
    tests=["evaluation/test_anomaly.py"],
    mutants=[
        Mutant("\"elbo_nats\", -1.0", "\"elbo_nats\", 1.0", "the sign of the bound as a score"),
        Mutant("np.isnan(values).sum()", "np.isinf(each).sum()", "a score that is no number is above no threshold"),
        Mutant("(len(normal) + 1) * (1 - false_alarms)", "len(normal) * (1 - false_alarms)", "a threshold that breaks its promise by one place"),
        Mutant("[place - 1])", "[place - 2])", "a threshold one place too low"),
        Mutant("flagged = scores > threshold", "flagged = scores >= threshold", "the threshold itself is flagged"),
        Mutant("maps.append(-model", "maps.append(model", "the sign of a map"),
        Mutant("log_prob_map(x).sum(1)", "log_prob_map(x).mean(1)", "a map is a mean over channels"),
    ],
)
