"""What follows from the fit of any model."""
