"""What runs of real text say of activations: rows, observers, profiles and ranges."""
