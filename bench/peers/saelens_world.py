#!/usr/bin/env python3
"""SynthSAEBench-16k from SAELens's own generator: the peer of bench/worlds.

Reads one request a line from standard input and answers each with one line:
    sample ROWS        -> ok SECONDS L0      rows and their features, after one batch to warm up
    rates ROWS FILE    -> ok ROWS L0         in how many rows each feature fires: 16,384 doubles
    plain_rates ROWS FILE -> ok ROWS L0      the same without correlations, with magnitudes that do not vary
The configuration is that of the authors' create_synth_bench_16k_model.py without the Adam steps on the dictionary, which change nothing
about firing or speed, and with scale_children_by_parent off, as in the model that they released.
"""
import argparse
import sys
import time

import torch
from sae_lens.synthetic import HierarchyConfig, SyntheticModel, SyntheticModelConfig, ZipfianFiringProbabilityConfig
from sae_lens.synthetic.firing_magnitudes import FoldedNormalMagnitudeConfig, LinearMagnitudeConfig
from sae_lens.synthetic.synthetic_model import LowRankCorrelationConfig

BATCH = 1024


def build(plain=False):
    return SyntheticModel(SyntheticModelConfig(
        num_features=16384, hidden_dim=768, seed=42, bias=0.5,
        firing_probability=ZipfianFiringProbabilityConfig(max_prob=0.4, min_prob=5e-4, exponent=0.5),
        hierarchy=HierarchyConfig(total_root_nodes=128, branching_factor=4, max_depth=3, mutually_exclusive_portion=1.0,
                                  compensate_probabilities=True, scale_children_by_parent=False),
        mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
        std_firing_magnitudes=0.0 if plain else FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
        correlation=LowRankCorrelationConfig(rank=1 if plain else 25, correlation_scale=0.0 if plain else 0.1)))


def counts_of(model, rows):
    """In how many of at least `rows` rows each feature fires, and the rows. The rows themselves are not made."""
    counts, done = torch.zeros(16384, dtype=torch.float64), 0
    while done < rows:
        counts += (model.activation_generator.sample(BATCH).to_dense() > 0).sum(0)
        done += BATCH
    return counts, done


def draw(model, rows):
    """Mean number of features of at least `rows` rows, rows drawn, seconds."""
    fired, done, counting, begin = 0.0, 0, 0.0, time.perf_counter()
    while done < rows:
        _, features = model.sample_with_features(BATCH)
        t = time.perf_counter()
        fired += float((features.to_dense() > 0).sum())
        counting += time.perf_counter() - t  # not part of the generator
        done += BATCH
    return fired / done, done, time.perf_counter() - begin - counting


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=0)
    threads = parser.parse_args().threads
    if threads > 0:
        torch.set_num_threads(threads)
    model = build()
    model.sample_with_features(BATCH)
    for line in sys.stdin:
        words = line.split()
        if words[0] in ("rates", "plain_rates"):
            counts, rows = counts_of(model if words[0] == "rates" else build(True), int(words[1]))
            counts.numpy().tofile(words[2])
            print("ok", rows, float(counts.sum() / rows), flush=True)
        else:
            l0, rows, seconds = draw(model, int(words[1]))
            print("ok", seconds * int(words[1]) / rows, l0, flush=True)


main()
