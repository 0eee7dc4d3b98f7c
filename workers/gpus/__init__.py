"""Where hardware readings come from."""
