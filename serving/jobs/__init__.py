"""Work in the background: imports and exports of a whole event."""
