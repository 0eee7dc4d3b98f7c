"""The read side: one function per page."""
