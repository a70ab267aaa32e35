"""Equalization: shift, scale or split an activation's channels so that one INT8 scale fits all."""
