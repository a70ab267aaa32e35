"""What a maintainer runs by hand: benchmarks, demonstrations, forms of blocks, goldens."""
