"""`rollcall doctor`: small checks of one form, each with what was seen and what to do."""
