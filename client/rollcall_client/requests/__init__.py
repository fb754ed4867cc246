"""Made by client_generator: requests, as functions, by group."""
