"""INT8 that says what it did: calibration input, observers, and the quantiser with its plan."""
