"""Ledgers and stores on engines that companies already run; found by URL, imported by nothing."""
