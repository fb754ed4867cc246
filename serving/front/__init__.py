"""What stands before Serve's own HTTP proxy; see `serving/front/haproxy.py`."""
