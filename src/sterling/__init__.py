"""Sterling."""
