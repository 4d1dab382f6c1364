"""Networks, distributions, posteriors, priors, likelihoods and objectives."""
