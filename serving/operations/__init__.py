"""What an operator does to a service from outside: look it over, back it up, bring it back, change keys."""
