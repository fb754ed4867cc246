"""What the API takes and answers, by subject, with examples; `/docs` is made from these."""
