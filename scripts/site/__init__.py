"""The documentation site: the pages beside the code, and references made from the code itself."""
