"""Mistakes in the formulas of ``vaekit.evaluation.metrics``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.evaluation import metrics

TABLE = Table(
    metrics,
    tests=["evaluation/test_metrics.py", "model/test_published_mistakes.py"],
    mutants=[
        # evaluation
        Mutant("(picture - x).square().flatten(1).sum(1)", "(picture - x).square().flatten(1).mean(1)", "the squared error is a mean over pixels"),
        Mutant("(picture - x).square().flatten(1).sum(1)", "(picture - x).abs().flatten(1).sum(1)", "absolute for squared errors"),
        Mutant("self.model.decode(latents, batch.condition).picture", "self.model.decode(level.z[0], batch.condition).picture", "the picture of a sample, not of the mean"),
        Mutant("self.model.decode(latents, batch.condition).picture", "self.model.decode(level.qz.mean, batch.condition).mean", "errors of a mean that is not clamped"),
        Mutant("[rows] = kl.sum(1)", "[rows] = kl.mean(1)", "the rate that is printed is a mean over dimensions"),
        Mutant("[rows] = -_double(inference.log_px.mean(0))", "[rows] = _double(inference.log_px.mean(0))", "the sign of the distortion that is printed"),
        Mutant("self.kl_moments += torch", "self.kl_moments = torch", "the divergences of the last chunk alone"),
        Mutant("kl, kl_square = self.kl_moments / count", "kl, kl_square = self.kl_moments", "a sum over images for each dimension"),
        Mutant("(second - mean.square()).clamp(min=0)", "second.clamp(min=0)", "the error of a divergence by its second moment"),
        Mutant("clamp(min=0) / (count - 1)", "clamp(min=0)", "a standard deviation for the error of a divergence"),
        Mutant("torch.stack([mean.sum(0), mean.square().sum(0)])", "torch.stack([mean.sum(0), mean.sum(0).square()])", "the square of a sum for the sum of squares"),
        Mutant("square - mean.square()", "square", "the second moment of means for their variance"),
        Mutant("if self.is_discrete else None", "if True else None", "bits of a density"),
        Mutant("_decibel(mean / self.values)", "_decibel(mean)", "decibels of the error per image"),
        Mutant("-10 * math.log10(mean_squared_error)", "-20 * math.log10(mean_squared_error)", "decibels of an amplitude"),
        Mutant("-10 * math.log10(mean_squared_error)", "-10 * math.log(mean_squared_error)", "decibels by another logarithm"),
        Mutant('-self.columns["distortion_nats"] - rate', '-self.columns["distortion_nats"] + rate', "the sign of the rate in the bound that is printed"),
        Mutant("nats / (-self.values * math.log(2))", "nats / (self.values * math.log(2))", "the sign of the bits"),
        Mutant("(-self.values * math.log(2))", "(-self.values)", "nats for bits"),
        Mutant("values = math.prod(self.pixels.shape[1:])", "values = math.prod(self.pixels.shape[2:])", "bits per pixel for bits per pixel value"),
        Mutant("squares[where.expand_as(squares)].mean()", "(squares * where).mean()", "hidden pixels count among all"),
        Mutant("column.std() / math.sqrt(len(column))", "column.std()", "a standard deviation for a standard error"),
        Mutant("column.std() / math.sqrt(len(column))", "column.var() / math.sqrt(len(column))", "a variance for a standard deviation"),
        Mutant("column.std() / math.sqrt(len(column))", "column.std(correction=0) / math.sqrt(len(column))", "the standard deviation by N"),
        Mutant("10 / math.log(10) * error / mean", "10 * error / mean", "the error of decibels by the natural logarithm"),
        Mutant("return total - math.log(samples)", "return total", "a sum of importance weights, not their mean"),
        Mutant("torch.logaddexp(total, weights.logsumexp(0))", "weights.logsumexp(0)", "the last piece of the importance weights alone"),
        Mutant("torch.logaddexp(total, weights.logsumexp(0))", "torch.maximum(total, weights.logsumexp(0))", "the largest piece of the importance weights alone"),
        Mutant("weights.logsumexp(0)", "weights.mean(0)", "a mean of log weights for the logarithm of their sum"),
        Mutant("_double(inference.log_pz) - _double(inference.log_qz)", "_double(inference.log_pz) + _double(inference.log_qz)", "the sign of log q(z|x) in a weight"),
        Mutant("_double(inference.log_px) + _double(inference.log_pz)", "_double(inference.log_px) - _double(inference.log_pz)", "the sign of log p(z) in a weight"),
        Mutant("noise_of(keys, seed, EVALUATION", "noise_of(range(len(keys)), seed, EVALUATION", "noise of an image that depends on its batch"),
        Mutant("noise_of(keys, seed, EVALUATION", "noise_of([key + start for key in keys], seed, EVALUATION", "noise of an image that depends on its place"),
        Mutant("noise_of(keys, seed, EVALUATION", "noise_of(keys, 0, EVALUATION", "noise without the seed"),
        Mutant("for key in keys]", "for key in range(len(keys))]", "importance weights of an image that depend on its batch"),
        Mutant("keys[start : start + at_once] for", "keys[:at_once] for", "importance weights of an image by the noise of another"),
        Mutant("self.done += weights", "self.done = weights", "progress of importance samples that starts again in each pass"),
        Mutant("self.aggregate_rate_nats - information", "self.aggregate_rate_nats + information", "the sign of the information in the marginal divergence"),
        Mutant("and is_saturated(information)", "and False", "information that is log N is taken for that of the set"),
        # what is told
        Mutant("_conditions_of(pixels, start, len(x))", "_conditions_of(pixels, 0, len(x))", "all images are told what the first ones are"),
        Mutant("self.model.decode(latents, batch.condition).picture", "self.model.decode(level.qz.mean).picture", "pictures of a decoder that is told nothing"),
        Mutant("return -bound", "return bound", "the sign of the bound as a loss"),
    ],
)
