"""What the benchmarks measure the product against. Each needs the dependency group `bench`."""
