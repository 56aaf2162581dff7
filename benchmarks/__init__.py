"""Benchmarks: each script measures the product beside its peers, in one run, on one machine."""
