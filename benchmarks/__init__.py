"""Programs that print our figure, the peer's and the floor side by side, after they have checked that results are equal."""
