"""A virtual all-solid-state micro-battery: ground truth for demonstrations, tests and benchmarks."""
