"""INT8: calibration, equalization, weights, mixed precision, and the quantized graph with its plan.

``README.md`` beside this file describes the whole method.
"""
