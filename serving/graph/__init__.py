"""What lies between the boxes: the messages, how they travel, and the stages as the ingress sees them."""
