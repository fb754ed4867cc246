"""What breaks while the service works: each failure under load, what it cost and how long it lasted."""
