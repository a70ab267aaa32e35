"""What a maintainer runs by hand: benchmarks, demonstrations, forms of blocks, goldens."""

import bert_export  # noqa: F401  switches the engines' telemetry off before a script imports one
