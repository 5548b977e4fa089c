"""Stages: pure steps from refs and parameters to refs and evidence."""
