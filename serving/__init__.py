"""Rollcall: face recognition at events, served by a Ray Serve graph."""

__version__ = "0.1.0"
