"""The write side: verbs in transactions, and the only sender of orders."""
