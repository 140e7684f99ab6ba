"""Numbers about a trained network: how likely, how far, how many modes."""
