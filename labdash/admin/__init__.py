"""The whole lab in Django's admin. Actions call the domain; what nodes report is read-only."""

from labdash.admin import library, nodes, pulls, records

__all__ = ["library", "nodes", "pulls", "records"]
