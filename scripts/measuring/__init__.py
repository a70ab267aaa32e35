"""What the ``bench_*.py`` scripts share: children that measure, turns, figures, reports, peers.

The parent never imports what it measures. Every figure comes from a child process of its own that
runs a ``worker_*.py`` of this folder (or a command), one at a time, the contenders taking turns.
"""
