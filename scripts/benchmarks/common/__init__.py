"""What the benchmarks share: their options, bounds, tables, and the page of numbers."""
