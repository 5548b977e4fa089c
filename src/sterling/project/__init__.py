"""What is wanted: frozen definitions with no input and no output."""
