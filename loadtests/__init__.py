"""Load tests and benchmarks: ratios within one run, never timed tests."""
