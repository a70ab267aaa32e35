"""The graphs that we emit, as text that is reviewed: see graphs/README.md."""
