"""Views: pure folds of ledger entries into registries, reports, cards and trees of evidence."""
