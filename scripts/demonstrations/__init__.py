"""The demonstration heads: their data, how they are trained, and what users get of the data."""
