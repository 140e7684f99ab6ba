"""What goes wrong in training, while it goes wrong: measurements, verdicts, and exhibits that provoke each."""
