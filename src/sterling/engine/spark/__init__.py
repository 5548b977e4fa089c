"""SQL for Spark 4: our own emitter of the one exact plan, of exact sums, and of row expressions from an allow-list."""
