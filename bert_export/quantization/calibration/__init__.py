"""Calibration: real text runs through the float graph, and its activations are measured."""
