"""One file per engine: the graph form it wants, how the form is reached, how it is written."""
