"""Tests of the benchmarks: that they run and keep their form, never how fast anything is."""
