"""What things are: evidence, the ledger it stands in, the store of bytes, and the errors that say what would work."""
