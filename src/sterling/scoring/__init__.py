"""Batch scoring: many rows through a version, partition by partition, to a place where others read them."""
