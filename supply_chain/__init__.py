"""What is looked at of the dependencies before a release."""
