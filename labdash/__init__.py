"""The hub: the website, its database, and what it decides for the lab."""
