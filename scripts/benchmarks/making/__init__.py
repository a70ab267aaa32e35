"""What is measured is made here: checkpoints, bundles, graphs of other tools, texts."""
