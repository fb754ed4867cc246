"""Writes the parts of `rollcall_client` that follow from docs/openapi.json: `python -m client_generator`.

Models, error classes, requests and the methods of both clients. The map from schemas to types is needed for
the parameters of methods anyway, and models are the little that is then left; so no model generator is used.
"""
