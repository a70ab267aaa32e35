"""INT8 that says what it did: calibration input, observers, and the quantizer with its plan."""
